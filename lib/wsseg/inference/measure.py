"""What masks are for: volumes, and of cavities that fill and empty how much they eject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsseg.errors import WssegError
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace
from wsseg.models.package import Recipe

LEAST, MOST = 0.05, 0.9
"""Ejection fractions of living hearts lie between; what lies outside is a wrong mask or a wrong frame."""

ALIKE = 0.6
"""Correlation of the intensities of two frames of one heart: of ACDC's patients at least 0.78, of two patients at
most 0.41."""

SMOOTH = 5
"""Frames from which on one that was segmented badly is passed over."""


@dataclass(frozen=True)
class Ejection:
    """A cavity at its fullest (end of diastole) and at its emptiest (end of systole).

    Attributes:
        end_diastolic_ml, end_systolic_ml: its volumes.
    """

    end_diastolic_ml: float
    end_systolic_ml: float

    @property
    def stroke_ml(self) -> float:
        """What one beat ejects."""
        return self.end_diastolic_ml - self.end_systolic_ml

    @property
    def fraction(self) -> float:
        """The ejected part of the fullest volume, in [0, 1]."""
        return self.stroke_ml / self.end_diastolic_ml


def volumes_ml(mask: Volume, labels: LabelSpace) -> dict[str, float]:
    """Millilitres of each class of a mask (1..N)."""
    counts = {name: int(np.count_nonzero(mask.voxels == value)) for name, value in labels.values().items()}
    return {name: count * mask.voxel_ml for name, count in counts.items()}


def leading_cavities(recipe: Recipe) -> list[str]:
    """Classes that tell the phases: those that fill and empty within a wall of their own, else all that do."""
    cavities = [name for name, label in recipe.labels.items() if label.cavity]
    return [name for name in cavities if name in recipe.inside] or cavities


def phases(frames: Sequence[Mapping[str, float]], leading: Sequence[str]) -> tuple[int, int]:
    """Which of the frames of one beat are end-diastole, the fullest, and end-systole, the emptiest.

    Of :data:`SMOOTH` frames or more each counts as the median of itself and its
    neighbours in time, which meet at the ends of the beat.

    Args:
        frames: millilitres by class, as :func:`volumes_ml` gives them, in the order of time.
        leading: classes that are taken together, as :func:`leading_cavities` gives them.
    """
    filled = np.array([sum(volumes[name] for name in leading) for volumes in frames])
    usual = filled
    if len(filled) >= SMOOTH:
        usual = np.median([np.roll(filled, shift) for shift in (-1, 0, 1)], axis=0)
    # The median is flat about a turning point, where the frame itself decides.
    ordered = np.lexsort((filled, usual))
    return int(ordered[-1]), int(ordered[0])


def ejections(
    end_diastole: Mapping[str, float], end_systole: Mapping[str, float], cavities: Sequence[str]
) -> dict[str, Ejection]:
    """How much each cavity ejects.

    Args:
        end_diastole, end_systole: millilitres by class.
        cavities: classes that fill and empty.

    Raises:
        WssegError: a cavity was not found at end-diastole.
    """
    for name in cavities:
        if not end_diastole[name]:
            raise WssegError(f"measure: no {name} was found at end-diastole, there is nothing to measure")
    return {name: Ejection(end_diastole[name], end_systole[name]) for name in cavities}


def check_plausible(found: Mapping[str, Ejection]) -> None:
    """Refuse fractions that no living heart has, rather than to report what a wrong mask made of it."""
    for name, ejection in found.items():
        if not LEAST <= ejection.fraction <= MOST:
            raise WssegError(
                f"measure: the {name} would eject {100 * ejection.fraction:.0f} %"
                f" ({ejection.end_diastolic_ml:.0f} ml, then {ejection.end_systolic_ml:.0f} ml), which no heart does:"
                " look at the masks (--out), and whether these are end-diastole and end-systole of one heart"
            )


def check_one_heart(frames: Sequence[tuple[str, Volume]]) -> None:
    """Refuse frames, each with its name, that cannot be two times of one heart."""
    (first, one), *others = frames
    for name, other in others:
        if one.shape != other.shape or not np.allclose(one.affine, other.affine, atol=0.1):
            raise WssegError(f"measure: {first} and {name} are on different grids, frames of one heart share theirs")
        if np.array_equal(one.voxels, other.voxels):
            raise WssegError(f"measure: {first} and {name} are the same frame, end-diastole and end-systole are needed")
        alike = np.corrcoef(one.voxels.ravel(), other.voxels.ravel())[0, 1]
        if alike < ALIKE:
            raise WssegError(
                f"measure: {first} and {name} show different patients or places, their correlation is {alike:.2f}"
            )
