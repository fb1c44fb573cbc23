"""A picture that is too large to be seen at once, in windows whose answers are blended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from wsseg.methods.shared.poses import Pose, posed, unposed

SPREAD = 0.3
"""Deviation of the Gaussian that a window's answer is weighed by, in sides: at its border it knows the half."""

Look = Callable[[Tensor, int], Tensor]
"""Windows (n, channels, side, side), and the index of their pose, to answers (n, classes, side, side)."""


def in_windows(
    look: Look, pictures: Tensor, side: int, poses: Sequence[Pose], chunk: int, progress: Callable[[float], None]
) -> Tensor:
    """The mean of what windows say of each pixel, on the CPU.

    In the first pose windows lie side by side, in the second over the borders of
    those, and so on in turn, so that what one sees at its border another has in its
    middle; a single pose is taken twice. Nothing but this mean and its weights
    grows with the picture.

    Args:
        look: sees windows as they lie in the pose.
        pictures: (pictures, channels, rows, columns); one smaller than a window is continued at its border.
        side: of windows, in pixels.
        poses: ways in which the picture is looked at.
        chunk: windows at a time.
        progress: told the finished part, in [0, 1].

    Returns:
        (pictures, classes, rows, columns).
    """
    rows, columns = pictures.shape[2:]
    padding = [0, max(0, side - columns), 0, max(0, side - rows)]
    seen = functional.pad(pictures, padding, mode="replicate")
    parts: list[tuple[int, list[_Place]]] = []
    for turn in range(max(2, len(poses))):
        tops, lefts = (_starts(length, side, between=turn % 2 == 1) for length in seen.shape[2:])
        places = [_Place(*place) for place in product(range(len(seen)), tops, lefts)]
        parts += [(turn % len(poses), places[at : at + chunk]) for at in range(0, len(places), chunk)]
    blend: _Blend | None = None
    for done, (pose, part) in enumerate(parts):
        windows = torch.stack([seen[index, :, top : top + side, left : left + side] for index, top, left in part])
        answers = unposed(look(posed(windows, poses[pose]), pose), poses[pose]).cpu()
        if blend is None:
            blend = _Blend(seen.shape, answers)
        for place, answer in zip(part, answers, strict=True):
            blend.add(place, answer)
        progress((done + 1) / len(parts))
    assert blend is not None
    return blend.mean()[..., :rows, :columns]


class _Place(NamedTuple):
    picture: int
    top: int
    left: int


class _Blend:
    """Sums of weighted answers and of weights.

    Args:
        shape: of the pictures (pictures, channels, rows, columns).
        answers: the first ones, (n, classes, side, side).
    """

    def __init__(self, shape: Sequence[int], answers: Tensor) -> None:
        side = answers.shape[2]
        self.total = torch.zeros(shape[0], answers.shape[1], *shape[2:])
        self.weights = torch.zeros(shape[0], 1, *shape[2:])
        away = (torch.arange(side) - (side - 1) / 2) / (SPREAD * side)
        along = torch.exp(-away.square() / 2).clamp(min=1e-3)
        self.weight = along[:, None] * along

    def add(self, place: _Place, answer: Tensor) -> None:
        """An answer (classes, side, side) for a window of a picture, by its top and left."""
        rows, columns = (slice(at, at + len(self.weight)) for at in place[1:])
        self.total[place.picture, :, rows, columns] += self.weight * answer
        self.weights[place.picture, :, rows, columns] += self.weight

    def mean(self) -> Tensor:
        return self.total.div_(self.weights)


def _starts(length: int, side: int, between: bool) -> list[int]:
    """Where windows begin along an axis: evenly, side by side; or half-way between those."""
    gaps = -(-length // side) - 1
    starts = [round((length - side) * index / gaps) for index in range(gaps + 1)] if gaps else [0]
    return [(one + other) // 2 for one, other in pairwise(starts)] if between and gaps else starts
