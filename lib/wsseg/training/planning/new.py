"""An untrained package for a new organ, finding or modality: data, not code."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pydicom.sr.codedict import codes

from wsseg.errors import WssegError
from wsseg.inference.quality.headers import regions
from wsseg.labels.space import TISSUE, Label, LabelSpace
from wsseg.methods.registry import METHODS
from wsseg.models.card import model_card
from wsseg.models.package import Metadata, ModelPackage, Parent, Recipe, dicom_modality, read_package, write_package
from wsseg.models.shelf import package_names, parent_licences, publish
from wsseg.training.planning.plan import Plan

VERSION = "0.0.0"

YOURS = "what else binds it follows from the data that it is trained on"

UNION = "union"
"""The method that learns from labels of any kind."""

_RECIPES: dict[str, Callable[..., Recipe]] = {
    UNION: partial(Recipe, size=128, settings={}, planned=False),
    "cdm": partial(Recipe, size=128, settings={}),
    "cam": partial(Recipe, size=128, settings={}),
    "cldf": partial(Recipe, size=128, settings={}),
    "pclmix": partial(Recipe, size=192, settings={"network": "residual", "crop": 192}, largest_component=True),
    "textdiff": partial(Recipe, size=512, settings={}, colour=True),
}
"""By method. PCLMix sees the whole slice, since an organ of any size may lie anywhere in it."""

_BESIDE = {"cldf": ("cdm", "cam")}
"""Methods of the models that are made beside one, as it is built on them."""


def new_package(
    name: str,
    labels: Sequence[str],
    modality: str,
    models: Path,
    method: str = UNION,
    body_part: str = "",
    plan: Plan | None = None,
) -> ModelPackage:
    """Write a package without weights, ready to be labelled for and trained.

    Args:
        name: lower case letters, digits and hyphens, as ``liver-mr``.
        labels: class names in the order of their voxel values.
        modality: what the model reads, beginning with DICOM's word: ``MR``, ``CT``.
        models: folder of packages, where :func:`wsseg.files.home` keeps those trained here.
        method: ``union`` learns from labels of any kind, ``cdm``, ``cldf`` and ``cam`` from presence per slice,
            ``pclmix`` from scribbles, ``textdiff`` from masks of pictures of stained tissue.
            CLDF is built on a CDM and a CAM model, which are made beside it.
        body_part: DICOM's word for what it is made for, as in ``LIVER``; a scan
            whose header names another region is refused.
        plan: how the union learner is to see scans; by default chosen from the data that it is first trained on.

    Raises:
        WssegError: a name is taken or impossible, or the labels are; or there is no such method.
    """
    if method not in _RECIPES:
        raise WssegError(f"method {method}: is unknown, known are: {', '.join(_RECIPES)}")
    if plan and method != UNION:
        raise WssegError(f"method {method}: nothing is chosen for it from scans and labels")
    made = {f"{name}-{own}": own for own in _BESIDE.get(method, ())} | {name: method}
    _check(list(made), modality, body_part, models)
    space = LabelSpace(tuple(labels))
    shown = {label: Label(color=color, category=TISSUE, type=TISSUE) for label, color in _colors(space).items()}
    recipes: dict[str, Recipe] = {}
    for package, own in made.items():
        parents = _parents(own, name)
        bound = parent_licences(parent for parent in parents.values() if parent.package not in made)
        recipe = _RECIPES[own](
            format=2,
            method=own,
            parents=parents,
            labels=shown,
            modality=modality,
            body_part=body_part,
            licence="; ".join([*bound, YOURS]),
        )
        recipes[package] = plan.applied(recipe) if plan else recipe
    for package, recipe in recipes.items():
        _write(package, recipe, models)
    return read_package(models / name / VERSION, name)


def _parents(method: str, name: str) -> dict[str, Parent]:
    """Where parts come from of a model of that method and name."""
    if method == UNION:
        return {
            "network": Parent(package="union-start", part="network"),
            "completion": Parent(package="completion", part="network"),
        }
    if method == "textdiff":
        return {"diffusion": Parent(package="ddpm-nuclei-he", part="diffusion")}
    if method != "cldf":
        return {}
    cdm, cam = (f"{name}-{own}" for own in _BESIDE[method])
    return {
        "diffusion": Parent(package=cdm, part="diffusion"),
        "classifier": Parent(package=cdm, part="classifier"),
        "cam": Parent(package=cam, part="classifier"),
    }


def _check(names: Sequence[str], modality: str, body_part: str, models: Path) -> None:
    for name in names:
        if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") or name.startswith("-"):
            raise WssegError(f'name "{name}": lower case letters, digits and hyphens are possible, as in liver-mr')
        if name in package_names() or (models / name).exists():
            raise WssegError(f'name "{name}" is taken, `wsseg models` lists what there is')
    known = codes.cid29  # acquisition modalities
    if dicom_modality(modality) not in {getattr(known, each).value for each in known.dir()}:
        raise WssegError(
            f'--modality "{modality}": begins with DICOM\'s word for what the model reads: MR, CT, US, PT, SM, ...'
        )
    if body_part and not regions(body_part):
        raise WssegError(f"--body-part {body_part}: is no word that is known, use one as BRAIN, HEART, LIVER or PELVIS")


def _write(name: str, recipe: Recipe, models: Path) -> None:
    metadata = Metadata(
        version=VERSION,
        changelog={VERSION: "made by `wsseg new`, not trained"},
        description=f"{', '.join(recipe.labels)} in {recipe.modality}, by the method {METHODS[recipe.method]}.",
        authors="",
        wsseg=recipe,
    )
    write_package(models / name / VERSION, metadata, {}, model_card(name, metadata), f"{recipe.licence}\n")
    publish(models, name, VERSION)


def _colors(labels: LabelSpace) -> dict[str, tuple[int, int, int]]:
    """Distinct hues, red first."""
    hues = [index / len(labels) for index in range(len(labels))]
    parts = [colorsys.hsv_to_rgb(hue, 0.75, 0.9) for hue in hues]
    whole = [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in parts]
    return dict(zip(labels.names, whole, strict=True))
