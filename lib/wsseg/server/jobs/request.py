"""What a request for training asks for: which models, in which order, how many steps."""

from __future__ import annotations

from collections.abc import Mapping

from wsseg.errors import WssegError
from wsseg.methods.registry import BACKBONES, method_class
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package
from wsseg.server.jobs.job_folder import STEPS, Plan

MOST_STEPS = 1_000_000


def plan_of(package: ModelPackage, request: Mapping[str, object]) -> Plan:
    """What is to be done for a model.

    Args:
        request: ``steps`` of each stage; ``parents``, false to leave them as
            they are. All else is ignored.

    Raises:
        WssegError: a field is wrong.
        NotFoundError: a parent is unknown.
    """
    parts = chain(package) if _flag(request.get("parents"), "parents") else [package.name]
    return Plan(package.name, {part: _steps_of(find_package(part), request.get("steps")) for part in parts})


def chain(package: ModelPackage) -> list[str]:
    """What is trained for a model: its parents by name, theirs before them, and itself.

    Backbones are left out: they learn from more pictures than people label.

    Raises:
        NotFoundError: a parent is unknown.
    """
    names = [parent.package for parent in package.recipe.parents.values() if "/" not in parent.package]
    parents = [find_package(name) for name in names]
    found = [part for parent in parents if parent.recipe.method not in BACKBONES for part in chain(parent)]
    return list(dict.fromkeys([*found, package.name]))


def usual_steps(package: ModelPackage) -> int | None:
    """Steps of each stage where none are asked for: few of what is trained already; None where the method decides."""
    timed = method_class(package.recipe.method).minutes is not None
    return STEPS if package.trained and not timed else None


def _steps_of(package: ModelPackage, given: object) -> int | None:
    """Steps of each stage, None for the method's own; a viewer's table of options sends text."""
    if given in (None, ""):
        return usual_steps(package)
    text = str(given)
    if isinstance(given, bool) or not text.isdecimal() or not 1 <= int(text) <= MOST_STEPS:
        raise WssegError(f"steps: must be a whole number from 1 to {MOST_STEPS}, not {text[:40]!r}")
    return int(text)


def _flag(given: object, field: str) -> bool:
    words = {None: True, True: True, False: False, "true": True, "false": False}
    if not isinstance(given, (bool, str, type(None))) or given not in words:
        raise WssegError(f"{field}: must be true or false, not {str(given)[:40]!r}")
    return words[given]
