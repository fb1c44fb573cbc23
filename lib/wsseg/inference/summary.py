"""What a list of many cases says of each: how much of what was found, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from wsseg.inference.quality.fits import LEVEL
from wsseg.inference.result import NEGATIVE, NOTHING, Segmentation
from wsseg.models.package import Recipe

QUALITY = ("predicted Dice", "fits", "remark")
"""Columns of what the model says of its own mask."""


@dataclass(frozen=True)
class Summary:
    """One case in a line.

    Attributes:
        sizes: millilitres of each class; of a picture the percentage of its area.
        predicted_dice: mean over classes, in [0, 1]; None where it is not predicted.
        promised: the same if the probabilities were right.
        fits: the p-value of the scan to be of the kind that the model was
            trained on; None where the model does not know.
        remark: what a number does not say: that the scan was taken for its negative, or nothing was found.
    """

    sizes: dict[str, float]
    predicted_dice: float | None
    promised: float
    fits: float | None
    remark: str

    @classmethod
    def of(cls, result: Segmentation) -> Summary:
        """The summary of a result."""
        facts = result.facts()
        sizes = facts["area_percent"] if result.mask.picture else facts["millilitres"]
        predicted = result.mean_predicted_dice
        remarks = {NEGATIVE: result.negative, NOTHING: not result.mask.voxels.any()}
        return cls(
            sizes,
            None if predicted is None else round(predicted, 4),
            round(result.promised, 4),
            facts["fits"]["p"] if facts["fits"] else None,
            "; ".join(remark for remark, true in remarks.items() if true),
        )

    @property
    def certainty(self) -> float:
        """How far the mask may be believed, in [0, 1]; the lowest are looked at first, foreign scans above all."""
        doubted = self.fits is not None and self.fits < LEVEL
        dice = self.promised if self.predicted_dice is None else self.predicted_dice
        return dice * (self.fits or 0.0) if doubted else dice

    def row(self) -> dict[str, float | str | None]:
        """What stands under :func:`columns_of`, in their order."""
        return {**self.sizes, **dict(zip(QUALITY, (self.predicted_dice, self.fits, self.remark), strict=True))}


def columns_of(recipe: Recipe) -> list[str]:
    """Headings of a case's line under a model: its classes with their unit, and ``QUALITY``."""
    unit = "percent" if recipe.colour else "ml"
    return [*(f"{name} {unit}" for name in recipe.labels), *QUALITY]
