"""How well masks meet labels of any kind that were never trained on."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from wsseg.data.targets import Targets
from wsseg.labels.space import NO, YES
from wsseg.methods.shared.masks import mask_of


class Agreement:
    """Dice of masks with what people drew and with the boxes they put; presence, where that is all there is.

    Args:
        classes: number of findings.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._common, self._sizes = torch.zeros(2, classes), torch.zeros(2, classes)  # pixels, boxes
        self._given = torch.zeros(2, classes)
        self._presence: list[tuple[Tensor, Tensor]] = []

    def add(self, probabilities: Tensor, presence: Tensor, targets: Targets) -> None:
        """Take one scan's answer into account.

        Args:
            probabilities: (slices, classes, size, size).
            presence: (slices, classes) in [0, 1].
            targets: what people said of the same slices.
        """
        mask = mask_of(probabilities)
        truth, known = targets.with_implied().known_pixels()
        for k in range(self._classes):
            own = mask == k + 1
            self._count(0, k, own & known, known & (truth == k + 1))
            boxes = targets.boxes[:, k] > 0
            boxed = boxes.flatten(1).any(dim=1)
            self._count(1, k, _extent(own[boxed]), boxes[boxed])
        self._presence.append((targets.presence, presence))

    def _count(self, kind: int, k: int, own: Tensor, given: Tensor) -> None:
        self._common[kind, k] += (own & given).sum()
        self._sizes[kind, k] += own.sum() + given.sum()
        self._given[kind, k] += given.sum()

    def score(self) -> float:
        """Mean Dice over classes and over drawn pixels and boxes; the area under the ROC curve where there are neither.

        NaN where nothing can be told.
        """
        if not self._given.any():
            truth, said = (torch.cat(parts) for parts in zip(*self._presence, strict=True))
            return presence_auc(truth, said)
        return float((2 * self._common / self._sizes)[self._given > 0].mean())


def _extent(masks: Tensor) -> Tensor:
    """The rectangle around each mask (slices, rows, columns), filled."""
    rows, columns = masks.any(dim=2), masks.any(dim=1)
    return _between(rows)[:, :, None] & _between(columns)[:, None, :]


def _between(marked: Tensor) -> Tensor:
    """From the first to the last that is marked, (slices, length) bool."""
    seen = marked.int()
    return (seen.cummax(dim=1).values > 0) & (seen.flip(1).cummax(dim=1).values.flip(1) > 0)


def presence_auc(presence: Tensor, said: Tensor) -> float:
    """Area under the ROC curve, mean over the classes of which both states are known, NaN without any.

    Args:
        presence: (slices, classes) of 1, 0 and -1 (unknown, left out).
        said: (slices, classes), greater where a slice rather shows the class.
    """
    from monai.metrics import compute_roc_auc  # loading MONAI takes seconds, which predicting need not wait for

    areas = []
    for truth, value in zip(presence.T, said.T, strict=True):
        if (truth == YES).any() and (truth == NO).any():
            areas.append(compute_roc_auc(value[truth >= 0], truth[truth >= 0]))
    return float(np.mean(areas)) if areas else math.nan
