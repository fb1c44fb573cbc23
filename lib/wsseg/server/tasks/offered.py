"""Which models a server offers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from wsseg.errors import WssegError
from wsseg.methods.registry import BACKBONES
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package, package_names

logger = logging.getLogger(__name__)


def check_models(names: Sequence[str]) -> None:
    """That a server that is told to can offer these.

    Raises:
        WssegError: one is unknown, damaged or segments nothing.
    """
    for name in names:
        if find_package(name).recipe.method in BACKBONES:
            raise WssegError(f"{name}: is a backbone that other models are built on, it segments nothing")


def trained_packages(packages: Sequence[ModelPackage]) -> list[ModelPackage]:
    """Those that can segment, with a line in the log on each that is to be trained first."""
    for package in packages:
        if not package.trained:
            logger.info("not offered before it is trained: %s", package.name)
    return [package for package in packages if package.trained]


def sound_packages(names: Sequence[str] = ()) -> list[ModelPackage]:
    """Those of the named packages, or of all there are, that segment, trained or not.

    Damaged ones are left out, with a line in the log: a server goes on with the others.
    """
    packages = []
    for name in names or package_names():
        try:
            packages.append(find_package(name))
        except WssegError as error:
            logger.warning("not offered: %s", error)
    return [package for package in packages if package.recipe.method not in BACKBONES]
