"""What masks are for: volumes, and of cavities that fill and empty how much they eject."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsseg.errors import WssegError
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace


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


def phases(one: dict[str, float], other: dict[str, float], cavities: list[str]) -> tuple[str, str]:
    """Which of two frames of one heart is end-diastole ("ED", the fuller one) and which end-systole ("ES").

    Args:
        one, other: millilitres by class, as :func:`volumes_ml` gives them.
        cavities: classes that fill and empty, taken together.
    """
    filled = [sum(volumes[name] for name in cavities) for volumes in (one, other)]
    return ("ED", "ES") if filled[0] >= filled[1] else ("ES", "ED")


def ejections(one: dict[str, float], other: dict[str, float], cavities: list[str]) -> dict[str, Ejection]:
    """How much each cavity ejects between two frames of one heart.

    Args:
        one, other: millilitres by class, as :func:`volumes_ml` gives them.
        cavities: classes that fill and empty.

    Raises:
        WssegError: a cavity was not found in the fuller frame.
    """
    full, empty = (one, other) if phases(one, other, cavities)[0] == "ED" else (other, one)
    for name in cavities:
        if not full[name]:
            raise WssegError(f"measure: no {name} was found at end-diastole, there is nothing to measure")
    return {name: Ejection(full[name], empty[name]) for name in cavities}
