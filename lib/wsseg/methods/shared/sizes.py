"""How large a class is on slices, as boxes tell it, and a network's masks made so large.

What is told is told of many slices together: of one box nobody knows how much of it is filled.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.data.targets import Targets
from wsseg.losses.box import filled

FILLED = (0.5, 0.9)
"""Area at least and at most, in what is asked for inside of boxes.

Of classes of two abdomens, necks and hippocampi each (`benchmarks/completion/score.py`) it is 0.5 to 1.1, median 0.88.
"""

FARTHEST = 2.0
"""Greatest change of a class's logits: where more is needed, what was told or learned is wrong."""

_LEVELS = torch.arange(-40, 41) * (FARTHEST / 40)


def area_bounds(targets: Targets) -> Tensor:
    """The least and the greatest area in pixels, (2, slices, classes); 0 where nothing is told.

    Slices on which a mask was corrected, of which the rest is not known, tell nothing.
    """
    # Class by class: the boxes of all on a large CT are gigabytes.
    classes = targets.boxes.unbind(dim=1)
    boxed = torch.stack([(filled(own) * (own > 0)).flatten(1).sum(dim=1) for own in classes], dim=1)
    return torch.stack([part * boxed for part in FILLED]) * ~targets.corrected[:, None]


class ThresholdFit:
    """Areas that labels tell beside what a network marks at every threshold of its logits.

    Args:
        heeded: (classes,) bool, of which sizes are to be told; others are left as they are.
    """

    def __init__(self, heeded: Tensor) -> None:
        self._heeded = heeded
        self._told = torch.zeros(2, len(heeded))
        self._marked = torch.zeros(len(heeded), len(_LEVELS))

    def add(self, probabilities: Tensor, told: Tensor) -> None:
        """Take some slices into account; a pixel counts for the class that is likeliest there.

        Args:
            probabilities: of classes against background, (slices, classes, rows, columns).
            told: their :func:`area_bounds`.
        """
        self._told += told.sum(dim=1) * self._heeded
        best = probabilities.amax(dim=1)
        for k, own in enumerate(probabilities.unbind(dim=1)):
            rows = (told[1, :, k] > 0) & self._heeded[k]
            logits = torch.logit(own[rows][own[rows] == best[rows]].float(), eps=1e-6)
            counts = torch.bincount(torch.bucketize(logits, _LEVELS), minlength=len(_LEVELS) + 1)
            self._marked[k] += counts.flip(0).cumsum(0).flip(0)[1:]

    def shifts(self) -> list[float]:
        """What to add to the logits of each class, as little as possible, so that as much is marked as is told.

        Where no change of :data:`FARTHEST` is enough it is that; no class is raised beyond the most that is told.
        """
        return [_shift(marked, *told) for marked, told in zip(self._marked, self._told.T.tolist(), strict=True)]


def _shift(marked: Tensor, least: float, most: float) -> float:
    """Of pixels marked above each of the levels, which become fewer from level to level."""
    level = len(_LEVELS) // 2
    while level < len(_LEVELS) - 1 and marked[level] > most > 0:
        level += 1
    while level > 0 and marked[level] < least and marked[level - 1] <= most:
        level -= 1
    return -float(_LEVELS[level])
