"""An untrained package for a new organ, finding or modality: data, not code."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wsseg.data.kinds.base import LabelKind
from wsseg.data.kinds.registry import MASKS, PRESENCE, SCRIBBLES, kinds_named
from wsseg.errors import WssegError
from wsseg.inference.quality.headers import regions
from wsseg.labels.space import Code, Label, LabelSpace
from wsseg.models.card import model_card
from wsseg.models.package import Metadata, ModelPackage, Parent, Recipe, read_package, write_package
from wsseg.models.shelf import package_names, parent_licences, publish
from wsseg.training.planning.plan import Plan

VERSION = "0.0.0"

TISSUE = Code(scheme="SCT", value="85756007", meaning="Tissue")
"""What DICOM SEG says of a class until the package's metadata names it better."""

YOURS = "yours to choose"

_RECIPES: dict[LabelKind[Any], Callable[..., Recipe]] = {
    PRESENCE: partial(Recipe, method="cdm", size=128, settings={}),
    SCRIBBLES: partial(Recipe, method="pclmix", size=192, settings={"crop": 192}, largest_component=True),
    MASKS: partial(
        Recipe,
        method="textdiff",
        size=512,
        settings={},
        colour=True,
        parents={"diffusion": Parent(package="ddpm-nuclei-he", part="diffusion")},
    ),
}
"""What learns from one kind alone: PCLMix sees the whole slice, since an organ of any size may lie anywhere in it.
Masks teach TextDiff on colour pictures, over the backbone of stained tissue."""


def planned_package(
    name: str, labels: Sequence[str], modality: str, models: Path, plan: Plan, body_part: str = ""
) -> ModelPackage:
    """Write a package without weights that learns from whatever labels there are, and sees scans as planned for them.

    Args:
        plan: what :func:`wsseg.training.planning.plan.plan_for` has chosen; the rest as for :func:`new_package`.
    """
    settings = {"channels": max(1, len(plan.windows)), "crop": plan.crop, "mirrored": plan.mirrored}
    recipe = partial(
        Recipe, method="union", size=plan.size, bright=plan.bright, windows=plan.windows, settings=settings
    )
    return _written(name, labels, modality, body_part, models, recipe, "whatever labels there are")


def new_package(
    name: str,
    labels: Sequence[str],
    modality: str,
    models: Path,
    learns_from: str = PRESENCE.name,
    body_part: str = "",
) -> ModelPackage:
    """Write a package without weights for one kind of labels, ready to be labelled for and trained.

    Args:
        name: lower case letters, digits and hyphens, as ``liver-mr``.
        labels: class names in the order of their voxel values.
        modality: what the model reads, beginning with DICOM's word: ``MR``, ``CT``.
        models: folder of packages, where :func:`wsseg.files.home` keeps those trained here.
        learns_from: presence per slice makes it CDM, scribbles make it PCLMix,
            masks TextDiff, which reads colour pictures of stained tissue.
        body_part: DICOM's word for what it is made for, as in ``LIVER``; a scan
            whose header names another region is refused.

    Raises:
        WssegError: the name is taken or impossible, or the labels are; there is no
            such kind, or nothing learns from it alone.
    """
    [kind] = kinds_named([learns_from])
    if kind not in _RECIPES:
        raise WssegError(f"no method is made for {kind.name} alone, `wsseg new --data` makes a model of all labels")
    return _written(name, labels, modality, body_part, models, _RECIPES[kind], kind.name)


def _written(
    name: str,
    labels: Sequence[str],
    modality: str,
    body_part: str,
    models: Path,
    recipe_of: Callable[..., Recipe],
    learned_from: str,
) -> ModelPackage:
    if not name or not set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") or name.startswith("-"):
        raise WssegError(f'name "{name}": lower case letters, digits and hyphens are possible, as in liver-mr')
    if name in package_names() or (models / name).exists():
        raise WssegError(f'name "{name}" is taken, `wsseg models` lists what there is')
    if not modality.strip():
        raise WssegError("--modality is empty, name what the model reads, as in MR or CT")
    if body_part and not regions(body_part):
        raise WssegError(f"--body-part {body_part}: is no word that is known, use one as BRAIN, HEART, LIVER or PELVIS")
    space = LabelSpace(tuple(labels))
    shown = {label: Label(color=color, category=TISSUE, type=TISSUE) for label, color in _colors(space).items()}
    recipe = recipe_of(format=2, labels=shown, modality=modality, body_part=body_part, licence=YOURS)
    recipe = recipe.model_copy(update={"licence": "; ".join([*parent_licences(recipe), YOURS])})
    metadata = Metadata(
        version=VERSION,
        changelog={VERSION: "made by `wsseg new`, not trained"},
        description=f"{', '.join(space.names)} in {modality}, learned from {learned_from}.",
        authors="",
        wsseg=recipe,
    )
    write_package(models / name / VERSION, metadata, {}, model_card(name, metadata), f"{recipe.licence}\n")
    publish(models, name, VERSION)
    return read_package(models / name / VERSION, name)


def _colors(labels: LabelSpace) -> dict[str, tuple[int, int, int]]:
    """Distinct hues, red first."""
    hues = [index / len(labels) for index in range(len(labels))]
    parts = [colorsys.hsv_to_rgb(hue, 0.75, 0.9) for hue in hues]
    whole = [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in parts]
    return dict(zip(labels.names, whole, strict=True))
