"""Method names to methods. A new method is one file beside this one and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import cast

import torch
from pydantic import ValidationError

from wsseg.errors import WssegError
from wsseg.methods.base import Method
from wsseg.package import METADATA, ModelPackage, find_package

METHODS = {
    "cam": "CAM",
    "cdm": "CDM",
    "cldf": "CLDF",
}
"""The file beside this one, and the class in it."""


def method_class(name: str) -> type[Method]:
    """A method's class; its file is imported on first use: MONAI's networks take seconds that others need not wait."""
    return cast(type[Method], getattr(import_module(f"wsseg.methods.{name}"), METHODS[name]))


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
            return kind(settings, len(package.labels))
        except (ValueError, RuntimeError) as error:  # how libraries refuse widths that cannot be built
            raise WssegError(f"{path}: settings: no network can be built from them ({error})") from error


def adopt_parents(method: Method, package: ModelPackage) -> dict[str, str]:
    """Copy a method's frozen parts from the packages its recipe names.

    Returns:
        What was copied, in words, by part: package, version and checksum.

    Raises:
        WssegError: a parent is unknown, not trained, or of another network.
    """
    adopted = {}
    for name, parent in package.recipe.parents.items():
        source = find_package(parent.package)
        try:
            weights = load_method(source).get_submodule(parent.part).state_dict()
            method.get_submodule(name).load_state_dict(weights)
        except (AttributeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise WssegError(
                f"{package.folder / METADATA}: parents.{name}: {parent.package} has no such part ({reason})"
            ) from error
        adopted[name] = f"{parent.part} of {source.name} {source.metadata.version}, sha256 {source.checksum()}"
    return adopted


def load_method(package: ModelPackage) -> Method:
    """A package's method with its trained weights, ready to predict.

    Raises:
        WssegError: the weights are missing, damaged or of another network.
    """
    method = create_method(package)
    try:
        method.load_state_dict(package.weights())
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise WssegError(f"{package.folder}: the weights do not fit the settings ({first})") from error
    return method.requires_grad_(False).eval()
