"""Which models a server offers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from wsseg.errors import WssegError
from wsseg.methods.registry import BACKBONES
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package, package_names

logger = logging.getLogger(__name__)


def offered_packages(names: Sequence[str] = ()) -> list[ModelPackage]:
    """Those of the named packages, or of all there are, that are trained; the others can be trained first.

    Raises:
        WssegError: a named model is unknown, damaged or segments nothing. Where
            none are named, such a model is left out, with a line in the log.
    """
    for name in names:
        if find_package(name).recipe.method in BACKBONES:
            raise WssegError(f"{name}: is a backbone that other models are built on, it segments nothing")
    packages = [find_package(name) for name in names] if names else sound_packages()
    for package in packages:
        if not package.trained:
            logger.info("not offered before it is trained: %s", package.name)
    return [package for package in packages if package.trained]


def sound_packages() -> list[ModelPackage]:
    """Every package that segments, trained or not; damaged ones are left out, with a line in the log."""
    packages = []
    for name in package_names():
        try:
            packages.append(find_package(name))
        except WssegError as error:
            logger.warning("not offered: %s", error)
    return [package for package in packages if package.recipe.method not in BACKBONES]
