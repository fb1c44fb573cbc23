"""What is known of a scan once a model has seen it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsseg.images.segments import Segments
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.measure import volumes_ml
from wsseg.inference.quality.dice import PredictedDice
from wsseg.inference.quality.fits import Fits
from wsseg.labels.space import LabelSpace
from wsseg.models.package import ModelPackage

SLICES = 5
"""That are named as worth looking at."""

WORTH = 0.1
"""Doubt of a slice that is worth it: a tenth of the largest mask on a slice."""

NEGATIVE = "segmented as its negative: what is bright there is dark here"
"""No longer than the 64 characters of a DICOM series' description."""

NOTHING = "nothing was found, the mask is empty"


@dataclass(frozen=True)
class Segmentation:
    """The result for one scan.

    Attributes:
        mask: uint8 on the scan's own grid; 0 background, 1..N the classes.
        labels: the classes' names in order.
        presence: (classes, slices) float32, probability that a slice shows the
            class; slices as stored, along axis ``grid.stored_axis``.
        uncertainty: uint8 on the scan's own grid, percent; 100 where the model
            cannot decide, 0 where it has no doubt: 1 - |2 p - 1|, p of the most
            probable class times that of the slice showing it. 0 on slices that
            are decided to show none: their doubt is in ``presence``.
        predicted_dice: of each class: how good its mask is expected to be; empty where the model
            was not calibrated, the scan does not fit it, or its negative was segmented.
        signs: (classes, signs) by which that is told.
        grid: how the scan was cut into slices.
        unmarked: (classes, slices) bool, slices as stored that are said to show a class of which the
            mask has nothing there.
        fits: whether the scan is of the kind that the model was trained on;
            None where its package does not say.
        negative: whether its negative was segmented.
    """

    mask: Volume
    labels: LabelSpace
    presence: NDArray[np.float32]
    uncertainty: Volume
    predicted_dice: dict[str, PredictedDice]
    signs: NDArray[np.float64]
    grid: SliceGrid
    unmarked: NDArray[np.bool_]
    fits: Fits | None = None
    negative: bool = False

    @property
    def remark(self) -> str:
        """What whoever opens the mask should know: how good it is, or that the scan does not fit; else empty."""
        if self.fits and self.fits.doubtful:
            return "; ".join([f"does not fit the model, {self.fits}", *self.sentences()])
        return "; ".join(self.sentences())

    def segments(self, package: ModelPackage) -> Segments:
        """What a file of the mask is to say of itself."""
        return replace(package.segments, remark=self.remark)

    def facts(self) -> dict[str, Any]:
        """What is known about the result beside its voxels, ready for JSON."""
        rows = zip(self.labels.names, self.presence, strict=True)
        return {
            "label_names": self.labels.values(),
            "presence": {name: [round(float(p), 4) for p in row] for name, row in rows},
            "slice_axis": self.grid.stored_axis,
            "predicted_dice": {name: dice.facts() for name, dice in self.predicted_dice.items()},
            "look_at": self.look_at(),
            "fits": self.fits.facts() if self.fits else None,
            "negative": self.negative,
            "unmarked": self.said_in_vain(),
            **self._sizes(),
        }

    def sentences(self) -> list[str]:
        """How good the mask of each class is; of a scan that was taken for its negative, that."""
        if self.negative:
            return [NEGATIVE]
        return [f"{name}: {dice}" for name, dice in self.predicted_dice.items()]

    def said_in_vain(self) -> dict[str, list[int]]:
        """By class the slices as stored that are said to show it, and where nothing was found that could be it."""
        rows = zip(self.labels.names, self.unmarked, strict=True)
        return {name: [int(index) for index in np.flatnonzero(row)] for name, row in rows if row.any()}

    @property
    def mean_predicted_dice(self) -> float | None:
        """Over classes; None where it is not predicted."""
        return float(np.mean([dice.value for dice in self.predicted_dice.values()])) if self.predicted_dice else None

    @property
    def promised(self) -> float:
        """Dice if the probabilities were right, mean over classes: it ranks scans where nothing better is known."""
        return float(self.signs[:, 0].mean())

    def look_at(self) -> list[int]:
        """Slices worth looking at, as stored, the worst first; at most :data:`SLICES`.

        Doubtful are those with many doubtful voxels, in parts of the largest mask
        on a slice, and those of which the model cannot decide whether they show
        a class. A picture is looked at as it is.
        """
        if self.mask.picture:
            return []
        others = tuple(axis for axis in range(3) if axis != self.grid.stored_axis)
        marked = np.count_nonzero(self.mask.voxels, axis=others).max()
        voxels = self.uncertainty.voxels.sum(axis=others, dtype=np.float64) / 100 / max(1, marked)
        undecided = (1 - np.abs(2 * self.presence - 1)).max(axis=0)
        doubt = voxels + undecided
        worst = np.argsort(-doubt, kind="stable")[:SLICES]
        return [int(index) for index in worst if doubt[index] > WORTH]

    def _sizes(self) -> dict[str, Any]:
        """How much there is of each class, and of doubt; of pictures, whose pixels have no known size, the part."""
        if self.mask.picture:
            parts = {name: np.mean(self.mask.voxels == value) for name, value in self.labels.values().items()}
            return {"area_percent": {name: round(100 * float(part), 3) for name, part in parts.items()}}
        return {
            "millilitres": {name: round(ml, 3) for name, ml in volumes_ml(self.mask, self.labels).items()},
            "uncertain_ml": [round(float(u), 3) for u in self._uncertain_ml()],
        }

    def _uncertain_ml(self) -> NDArray[np.floating]:
        """Millilitres of doubt on every slice as stored: the uncertainty summed over its voxels."""
        others = tuple(axis for axis in range(3) if axis != self.grid.stored_axis)
        return self.uncertainty.voxels.sum(axis=others, dtype=np.float64) / 100 * self.mask.voxel_ml
