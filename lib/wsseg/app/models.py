"""Which models a server offers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from wsseg.errors import WssegError
from wsseg.package import ModelPackage, find_package, package_names

logger = logging.getLogger(__name__)


def offered_packages(names: Sequence[str] = ()) -> list[ModelPackage]:
    """The named packages, or every trained one there is.

    Raises:
        WssegError: a named model is unknown, damaged or not trained. Among
            "every one" such a model is left out, with a line in the log.
    """
    if names:
        return [_trained(name) for name in names]
    packages = []
    for name in package_names():
        try:
            packages.append(_trained(name))
        except WssegError as error:
            logger.warning("not offered: %s", error)
    return packages


def _trained(name: str) -> ModelPackage:
    package = find_package(name)
    if not package.trained:
        raise WssegError(f'model "{name}" is not trained, `wsseg train {name}` trains it')
    return package
