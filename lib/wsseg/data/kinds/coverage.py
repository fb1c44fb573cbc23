"""On which slices a class is, and is not, told from where it was marked."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsseg.labels.space import NO, UNKNOWN, YES


def presence_of_marks(marked: Tensor, complete: Tensor) -> Tensor:
    """Presence (slices, classes) int8 from marks.

    People mark a class on every slice that shows it, or on every n-th. So the
    class is absent further than one such step beyond the first and the last
    mark. In between nothing is known.

    Args:
        marked: (slices, classes) bool, where a class was marked.
        complete: (slices,) bool, slices where what is not marked is absent.
    """
    found = torch.full(marked.shape, UNKNOWN, dtype=torch.int8)
    for k, column in enumerate(marked.T.numpy()):
        if len(where := np.flatnonzero(column)):
            step = int(np.median(np.diff(where))) if len(where) > 1 else 1
            found[: max(0, where[0] - step + 1), k] = NO
            found[where[-1] + step :, k] = NO
    found[complete[:, None] & ~marked] = NO
    found[marked] = YES
    return found
