"""How large a class is on slices, as boxes and points tell it, and a network's masks made so large.

What is told is told of many slices together: of one box nobody knows how much of it is filled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.data.targets import Targets
from wsseg.losses.box import filled

FILLED = (0.5, 0.9)
"""Area at least and at most, in what is asked for inside of boxes.

Of classes of two abdomens, necks and hippocampi each (`benchmarks/completion/score.py`) it is 0.6 to 1.15, median 0.93.
"""

GUESSED = (0.0, 1.5)
"""Area at least and at most, in what points tell of it; of those patients it is 0.4 to 1.6, of a spinal cord 0.1.

A mandible, which is no disc, was raised to twice its size where a least one was asked for.
"""

FARTHEST = 2.0
"""Greatest change of a class's logits: where more is needed, what was told or learned is wrong."""

_LEVELS = torch.linspace(-FARTHEST, FARTHEST, 81)


def told_areas(targets: Targets) -> Tensor:
    """The least and the greatest area in pixels, (2, slices, classes); 0 where nothing is told.

    Boxes tell more than points. Slices on which a mask was corrected, of which the rest is not known, tell nothing.
    """
    boxed = (filled(targets.boxes) * (targets.boxes > 0)).flatten(2).sum(dim=2)
    guessed = targets.about * (boxed == 0)
    told = torch.stack([FILLED[end] * boxed + GUESSED[end] * guessed for end in range(2)])
    return told * ~targets.corrected[:, None]


class Sizes:
    """What is told of sizes beside what a network marks at every level of its logits.

    Args:
        classes: number of findings.
    """

    def __init__(self, classes: int) -> None:
        self._told = torch.zeros(2, classes)
        self._marked = torch.zeros(classes, len(_LEVELS))

    def add(self, probabilities: Tensor, told: Tensor) -> None:
        """Take some slices into account.

        Args:
            probabilities: of classes against background, (slices, classes, rows, columns).
            told: their :func:`told_areas`.
        """
        self._told += told.sum(dim=1)
        for k, own in enumerate(probabilities.unbind(dim=1)):
            above = torch.bucketize(torch.logit(own[told[1, :, k] > 0].float(), eps=1e-6), _LEVELS)
            counts = torch.bincount(above.flatten(), minlength=len(_LEVELS) + 1)
            self._marked[k] += counts.flip(0).cumsum(0).flip(0)[1:]

    def shifts(self) -> list[float]:
        """What to add to the logits of each class, as little as possible, so that as much is marked as is told."""
        return [_shift(marked, *told) for marked, told in zip(self._marked, self._told.T.tolist(), strict=True)]


def _shift(marked: Tensor, least: float, most: float) -> float:
    """Of pixels marked above each of the levels, which become fewer from level to level."""
    now = len(_LEVELS) // 2
    fits = (marked >= least) & (marked <= most)
    if not most or fits[now]:
        return 0.0
    wanted = marked <= most if marked[now] > most else marked < least
    first = int(wanted.int().argmax()) if wanted.any() else len(_LEVELS) - 1
    return -float(_LEVELS[first if marked[now] > most else max(0, first - 1)])
