"""What is known of a scan once a model has seen it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsseg.images.segments import Segments
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.fits import Fits
from wsseg.inference.measure import volumes_ml
from wsseg.labels.space import LabelSpace
from wsseg.models.package import ModelPackage


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
        confidence: expected Dice of the mask, in [0, 1], mean over classes: what
            it would be if the model's probabilities were right. Low is a scan
            worth looking at.
        grid: how the scan was cut into slices.
        fits: whether the scan is of the kind that the model was trained on;
            None where its package does not say.
    """

    mask: Volume
    labels: LabelSpace
    presence: NDArray[np.float32]
    uncertainty: Volume
    confidence: float
    grid: SliceGrid
    fits: Fits | None = None

    @property
    def remark(self) -> str:
        """What whoever opens the mask should know; empty where nothing is doubtful."""
        return f"does not fit the model, {self.fits}" if self.fits and self.fits.doubtful else ""

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
            "confidence": round(self.confidence, 4),
            "fits": self.fits.facts() if self.fits else None,
            **self._sizes(),
        }

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


def expected_dice(maps: NDArray[np.float32], mask: NDArray[np.uint8], presence: NDArray[np.float32]) -> float:
    """Dice of a mask if the probabilities were right, 2 sum_{mask} p / (|mask| + sum p), mean over classes.

    A class that is marked nowhere counts as sure as it is absent.

    Args:
        maps: (slices, classes, rows, columns), probabilities where the slice shows the class.
        mask: (slices, rows, columns).
        presence: (slices, classes), probability that the slice does.
    """
    expected = []
    for k in range(maps.shape[1]):
        probability, marked = maps[:, k] * presence[:, k, None, None], mask == k + 1
        if marked.any():
            expected.append(2 * probability[marked].sum() / (marked.sum() + probability.sum()))
        else:
            expected.append(1 - presence[:, k].max())
    return float(np.mean(expected))
