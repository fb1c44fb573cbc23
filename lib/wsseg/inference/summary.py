"""What a list of many cases says of each: how much of what was found, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from wsseg.inference.result import Segmentation
from wsseg.models.package import Recipe

QUALITY = ("confidence",)
"""Columns of what the model says of its own mask."""


@dataclass(frozen=True)
class Summary:
    """One case in a line.

    Attributes:
        sizes: millilitres of each class; of a picture the percentage of its area.
        quality: by the names of ``QUALITY``.
    """

    sizes: dict[str, float]
    quality: dict[str, float]

    @classmethod
    def of(cls, result: Segmentation) -> Summary:
        """The summary of a result."""
        facts = result.facts()
        sizes = facts["area_percent"] if result.mask.picture else facts["millilitres"]
        return cls(sizes, {name: facts[name] for name in QUALITY})

    @property
    def certainty(self) -> float:
        """What the model says of its own mask, in [0, 1]; the lowest are worth looking at first."""
        return self.quality["confidence"]

    def row(self) -> dict[str, float]:
        """What stands under :func:`columns_of`, in their order."""
        return {**self.sizes, **self.quality}


def columns_of(recipe: Recipe) -> list[str]:
    """Headings of a case's line under a model: its classes with their unit, and ``QUALITY``."""
    unit = "percent" if recipe.colour else "ml"
    return [*(f"{name} {unit}" for name in recipe.labels), *QUALITY]
