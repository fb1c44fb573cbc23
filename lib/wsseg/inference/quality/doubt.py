"""Doubt per voxel that means what it says: of voxels with doubt d percent, d / 2 percent are marked wrongly.

100 % is a coin's toss. Platt scaling (Platt 1999; one slope and offset for all
voxels) of the probability that a voxel is marked rightly, which a model's doubt
states as 1 - d / 200.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logit

from wsseg.models.calibration import Calibration, Level

Floats = NDArray[np.float64]

LEVELS = 101
"""Doubt comes in whole percents."""


@dataclass(frozen=True)
class Counts:
    """Voxels of scans whose truth is known.

    Attributes:
        voxels: (LEVELS,) with each doubt.
        right: (LEVELS,), those of them that are marked rightly.
    """

    voxels: Floats
    right: Floats

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.voxels + other.voxels, self.right + other.right)


NONE = Counts(np.zeros(LEVELS), np.zeros(LEVELS))


def count(doubt: NDArray[np.uint8], mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Counts:
    """Voxels that are in doubt, marked or should be; the rest is air and tissue that nobody takes for anything."""
    asked = (doubt > 0) | (mask > 0) | (truth > 0)
    levels, right = doubt[asked], (mask == truth)[asked]
    return Counts(*(np.bincount(levels, part, LEVELS).astype(float) for part in (np.ones(len(levels)), right)))


def fit(counts: Counts) -> tuple[float, float]:
    """Slope and offset by which the logit of what doubt states becomes right."""
    from scipy.optimize import minimize  # only learning needs it, and it takes its time to load

    stated, wrong = _stated(), counts.voxels - counts.right
    total = max(1.0, float(counts.voxels.sum()))

    def loss(parameters: Floats) -> float:
        scaled = np.exp(parameters[0]) * stated + parameters[1]
        return -float(counts.right @ log_expit(scaled) + wrong @ log_expit(-scaled)) / total

    slope, offset = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.clip(np.exp(slope), 0.01, 100)), float(np.clip(offset, -20, 20))


def calibrated_doubt(calibration: Calibration) -> NDArray[np.uint8]:
    """:func:`calibrated` as a package asks for."""
    return calibrated(calibration.slope, calibration.offset)


def calibrated(slope: float, offset: float) -> NDArray[np.uint8]:
    """(LEVELS,) the calibrated doubt of each doubt; none stays none."""
    right = expit(slope * _stated() + offset)
    doubt = np.clip(np.round(200 * (1 - right)), 0, 100).astype(np.uint8)
    doubt[0] = 0
    return doubt


def retold(counts: Counts, doubt: NDArray[np.uint8]) -> Counts:
    """The same voxels by the doubt that is told instead.

    Args:
        counts: by the model's own doubt.
        doubt: (LEVELS,) for each of it.
    """
    voxels, right = (np.bincount(doubt, part, LEVELS).astype(float) for part in (counts.voxels, counts.right))
    return Counts(voxels, right)


def reliability(counts: Counts) -> tuple[Level, ...]:
    """Voxels in ten parts of the doubts there are, the most doubtful first."""
    levels = []
    for part in np.array_split(np.arange(LEVELS)[::-1], 10):
        if voxels := counts.voxels[part].sum():
            stated = float((1 - part / 200) @ counts.voxels[part] / voxels)
            levels.append(Level(stated=stated, right=float(counts.right[part].sum() / voxels), voxels=int(voxels)))
    return tuple(levels)


def calibration_error(counts: Counts) -> float:
    """ECE: how far the probability to be right lies from the part that is, mean over voxels, by levels of doubt."""
    stated = 1 - np.arange(LEVELS) / 200
    return float(np.abs(stated * counts.voxels - counts.right).sum() / max(1.0, counts.voxels.sum()))


def _stated() -> Floats:
    """The logit of the probability to be right that each doubt states; none is half a percent."""
    return np.asarray(logit(1 - np.maximum(np.arange(LEVELS), 0.5) / 200), np.float64)
