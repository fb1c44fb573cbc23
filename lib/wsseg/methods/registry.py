"""Method names to methods. A new method is one file beside this one, or in ``backbones/``, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import cast

import torch
from pydantic import ValidationError
from torch import Tensor

from wsseg.errors import WssegError
from wsseg.methods.base import Method, for_prediction
from wsseg.models.package import METADATA, ModelPackage
from wsseg.models.record import TakenPart
from wsseg.models.shelf import find_package
from wsseg.networks.residual_unet import ResidualUNet

METHODS = {
    "adm": "PublishedADM",
    "cam": "CAM",
    "cdm": "CDM",
    "cldf": "CLDF",
    "completion": "Completion",
    "ddpm": "DDPM",
    "pclmix": "PCLMix",
    "start": "Start",
    "textdiff": "TextDiff",
    "union": "Union",
}
"""The file, and the class in it."""

BACKBONES = ("adm", "completion", "ddpm", "start")
"""Methods that segment nothing; others are built on them. Their files have a folder of their own."""


def method_class(name: str) -> type[Method]:
    """A method's class; its file is imported on first use: MONAI's networks take seconds that others need not wait."""
    room = "wsseg.methods.backbones" if name in BACKBONES else "wsseg.methods"
    return cast(type[Method], getattr(import_module(f"{room}.{name}"), METHODS[name]))


def create_method(package: ModelPackage, seed: int = 0) -> Method:
    """A package's method with fresh random weights.

    Raises:
        WssegError: the method is unknown or its settings are wrong.
    """
    recipe, path = package.recipe, package.folder / METADATA
    if recipe.method not in METHODS:
        raise WssegError(f'{path}: method "{recipe.method}" is unknown, known are: {", ".join(METHODS)}')
    kind = method_class(recipe.method)
    try:
        settings = kind.settings_type.model_validate(recipe.settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise WssegError(f"{path}: settings.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            method = kind(settings, len(package.labels))
        except (ValueError, RuntimeError) as error:  # how libraries refuse widths that cannot be built
            raise WssegError(f"{path}: settings: no network can be built from them ({error})") from error
    return method


def adopt_parents(method: Method, package: ModelPackage, parts: Sequence[str]) -> dict[str, TakenPart]:
    """Copy frozen parts of a method from the packages its recipe names.

    Args:
        parts: of ``method.frozen``, those that are wanted.

    Returns:
        Where each part came from.

    Raises:
        WssegError: a parent is not named, unknown, not trained, of other
            classes or of another network.
    """
    adopted = {}
    for name in parts:
        place = _place(name, package)
        if name not in package.recipe.parents:
            raise WssegError(f"{place}: is missing, {package.recipe.method} needs a trained model for it")
        source = find_package(package.recipe.parents[name].package)
        if source.recipe.method not in BACKBONES and source.labels != package.labels:
            raise WssegError(f"{place}: {source.name} has other classes ({', '.join(source.labels.names)})")
        adopted[name] = _taken(name, package, source, method.get_submodule(name).load_state_dict)
    return adopted


def begin_with_parents(method: Method, package: ModelPackage) -> dict[str, TakenPart]:
    """Give those parts of a method that are trained the weights of the packages that its recipe names for them.

    Those may have other classes, and have seen other scans.

    Returns:
        Where each part came from.

    Raises:
        WssegError: a parent is unknown, not trained, or of another network.
    """
    begun = {}
    for name in package.recipe.parents:
        if name in method.frozen:
            continue
        part = dict(method.named_modules()).get(name)
        if not isinstance(part, ResidualUNet):
            raise WssegError(f"{_place(name, package)}: {package.recipe.method} has no such part")
        source = find_package(package.recipe.parents[name].package)
        begun[name] = _taken(name, package, source, part.begin_with)
    return begun


def _place(name: str, package: ModelPackage) -> str:
    return f"{package.folder / METADATA}: parents.{name}"


def _taken(
    name: str, package: ModelPackage, source: ModelPackage, take: Callable[[dict[str, Tensor]], object]
) -> TakenPart:
    """Give the weights of a trained model's part to what takes them."""
    place, part = _place(name, package), package.recipe.parents[name].part
    trained = dict(load_method(source).named_modules())
    if part not in trained:
        raise WssegError(f'{place}: {source.name} has no part "{part}"')
    try:
        take(trained[part].state_dict())
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise WssegError(f"{place}: the weights of {source.name} do not fit the settings ({first})") from error
    return TakenPart(package=source.name, version=source.metadata.version, part=part, sha256=source.checksum())


def stored_weights(method: Method) -> dict[str, Tensor]:
    """What a package keeps of a method's weights: all but what only training needs."""
    return {name: t for name, t in method.state_dict().items() if name.split(".")[0] not in method.training_only}


def load_method(package: ModelPackage, training: bool = False) -> Method:
    """A package's method with its trained weights, ready to predict.

    Args:
        package: trained.
        training: goes on from there, so that parts that only training needs are
            there too, with random weights.

    Raises:
        WssegError: the weights are missing, damaged or of another network.
    """
    with nullcontext() if training else for_prediction():
        method = create_method(package)
    unused = {name: t for name, t in method.state_dict().items() if name.split(".")[0] in method.training_only}
    try:
        method.load_state_dict({**unused, **package.weights()})
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise WssegError(f"{package.folder}: the weights do not fit the settings ({first})") from error
    return method.requires_grad_(False).eval()
