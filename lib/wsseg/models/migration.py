"""Packages of earlier formats, brought to today's when they are read. Files are left as they are.

Format 1 recorded training and figures in sentences for people; format 2 has fields. Of format 2 are
settings, too, whose part regions have taken, union models that completed nothing, and PCLMix's that name no network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from wsseg.models.record import Metric

_FIGURE = re.compile(
    r"(Dice|IoU|HD95 mm|AUC|confidence against Dice of),? (.+?)(?:, rank correlation)?, (nothing|presence|text) given"
)
_STAGE = re.compile(r"(\d+) steps of (\d+) slices, learning rate (\S+)")
_FROZEN = re.compile(r"(\S+) of (\S+) (\S+), sha256 ([0-9a-f]{64})")
_QUALITY = re.compile(r"precision (\S+), recall (\S+)")
_TIME = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")


def to_current(recipe: Any) -> Any:
    """A recipe as read from a file, in today's format; what is no recipe at all is given back as it is.

    Raises:
        ValueError: a sentence is not one that format 1 had.
    """
    if not isinstance(recipe, dict):
        return recipe
    recipe = _on_plain_network(_completing(_without_retired(recipe)))
    if recipe.get("format") != 1:
        return recipe
    kept = {key: value for key, value in recipe.items() if key != "trained"}
    trained, figures = recipe.get("trained"), recipe.get("figures", [])
    if not isinstance(figures, list):
        raise ValueError(f"figures: a list is expected, not {figures!r}")
    return kept | {
        "format": 2,
        "training": _training(trained) if trained else None,
        "figures": [_figure(figure) for figure in figures],
    }


def _completing(recipe: dict[str, Any]) -> dict[str, Any]:
    """Union models complete what people draw; those of before did not say by what."""
    parents = recipe.get("parents", {})
    if recipe.get("method") != "union" or not isinstance(parents, dict):
        return recipe
    return recipe | {"parents": {"completion": {"package": "completion", "part": "network"}, **parents}}


_PLAIN = {"network": "plain", "widths": [24, 48, 96, 160, 256], "steps": 3000}
"""What PCLMix's settings were where a package did not say, before it had a choice of networks."""


def _on_plain_network(recipe: dict[str, Any]) -> dict[str, Any]:
    """PCLMix models of before had one network, and could name a file that its encoder began with."""
    settings = recipe.get("settings")
    if recipe.get("method") != "pclmix" or not isinstance(settings, dict) or "network" in settings:
        return recipe
    if settings.get("encoder") and not recipe.get("training"):
        raise ValueError("settings.encoder: is gone, `parents.network` names a model to begin with")
    return recipe | {"settings": _PLAIN | {name: value for name, value in settings.items() if name != "encoder"}}


RETIRED = ("hyperintense", "votes", "seed_rim_mm")
"""Settings of methods that learn from presence, before they looked for regions."""

_SEEN = {"cam": "classifier_size", "cdm": "diffusion_size"}
"""What a method's networks see has a size of its own since then; it was the package's."""


def _without_retired(recipe: dict[str, Any]) -> dict[str, Any]:
    method, settings = recipe.get("method"), recipe.get("settings")
    if method not in ("cam", "cdm", "cldf") or not isinstance(settings, dict) or "hyperintense" not in settings:
        return recipe
    kept = {name: value for name, value in settings.items() if name not in RETIRED}
    if method in _SEEN and "size" in recipe:
        kept.setdefault(_SEEN[method], recipe["size"])
    return recipe | {"settings": kept}


def _training(told: Any) -> dict[str, Any]:
    """A training that format 1 recorded: most keys are a field's, some hold a name behind a fixed beginning."""
    record: dict[str, Any] = {}
    for key, value in _object("trained", told).items():
        if key in _FIELDS:
            record[_FIELDS[key]] = _seconds(value) if key == "wall time" else value
            continue
        kind, found = next(((kind, key.removeprefix(kind)) for kind in _NAMED if key.startswith(kind)), ("", ""))
        if not kind:
            raise ValueError(f'trained: format 1 had no "{key}"')
        field, read = _NAMED[kind]
        record.setdefault(field, {})[found] = read(value)
    return record


def _object(field: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{field}: an object is expected, not {value!r}")


def _parts(pattern: re.Pattern[str], *names: str) -> Callable[[Any], dict[str, Any]]:
    """Reads a sentence of format 1 into the fields that it was written from."""

    def read(sentence: Any) -> dict[str, Any]:
        return dict(zip(names, _match(pattern, sentence).groups(), strict=True))

    return read


def _match(pattern: re.Pattern[str], sentence: Any) -> re.Match[str]:
    if match := pattern.fullmatch(f"{sentence}"):
        return match
    raise ValueError(f'"{sentence}" is no sentence that format 1 had here')


def _same(value: Any) -> Any:
    return value


def _seconds(sentence: Any) -> int:
    days, hours, minutes, seconds = (int(part or 0) for part in _match(_TIME, sentence).groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _figure(told: Any) -> dict[str, Any]:
    values = dict(_object("figures", told))
    title, over, given = _match(_FIGURE, values.pop("what", "")).groups()
    return {"metric": _METRICS[title], "over": over, "given": given, **values}


_FIELDS = {
    "scans": "scans",
    "slices": "slices",
    "positive slices": "positive",
    "seed": "seed",
    "started from": "origin",
    "wall time": "seconds",
    "hardware": "hardware",
    "held-back score": "score",
    "held-back score before": "before",
    "job": "job",
}

_NAMED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "stage ": ("stages", _parts(_STAGE, "steps", "batch", "rate")),
    "frozen ": ("frozen", _parts(_FROZEN, "part", "package", "version", "sha256")),
    "labels of ": ("pixel_labels", _parts(_QUALITY, "precision", "recall")),
    "slices with ": ("labelled", _same),
}

_METRICS = {
    "Dice": Metric.DICE,
    "IoU": Metric.IOU,
    "HD95 mm": Metric.HD95,
    "AUC": Metric.AUC,
    "confidence against Dice of": Metric.CONFIDENCE,
}
