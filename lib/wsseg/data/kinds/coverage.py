"""On which slices a class is, and is not, told from where it was marked."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsseg.labels.space import NO, UNKNOWN, YES


def presence_of_marks(marked: Tensor, complete: Tensor) -> Tensor:
    """Presence (slices, classes) int8 from marks.

    People mark a class on every slice that shows it, or on every n-th. So the
    class is absent further than one such step beyond the first and the last
    mark; a class with one mark goes by the slices on which others are marked.
    In between nothing is known, nor anything where one slice is all that was marked.

    Args:
        marked: (slices, classes) bool, where a class was marked.
        complete: (slices,) bool, slices where what is not marked is absent.
    """
    found = torch.full(marked.shape, UNKNOWN, dtype=torch.int8)
    usual = _step(marked.any(dim=1).numpy())
    for k, column in enumerate(marked.T.numpy()):
        if step := _step(column) or usual * bool(column.any()):
            where = np.flatnonzero(column)
            found[: max(0, where[0] - step + 1), k] = NO
            found[where[-1] + step :, k] = NO
    found[complete[:, None] & ~marked] = NO
    found[marked] = YES
    return found


def _step(marked: NDArray[np.bool_]) -> int:
    """From one slice that is marked to the next, 0 where fewer than two are."""
    where = np.flatnonzero(marked)
    return int(np.median(np.diff(where))) if len(where) > 1 else 0
