"""Where in the slices something was found."""

from __future__ import annotations

import torch
from torch import Tensor


def square_around(weight: Tensor, side: int) -> tuple[slice, slice]:
    """Rows and columns of the square around the centre of what was found in all slices; the middle where nothing was.

    Args:
        weight: (slices, rows, columns), not negative.
    """
    sure = weight * (weight > 0.5)
    ranges = []
    for size, profile in zip(weight.shape[1:], (sure.sum(dim=(0, 2)), sure.sum(dim=(0, 1))), strict=True):
        total = profile.sum()
        centre = float((profile * torch.arange(size)).sum() / total) if total > 0 else size / 2
        begin = min(max(0, round(centre - side / 2)), max(0, size - side))
        ranges.append(slice(begin, begin + side))
    return ranges[0], ranges[1]
