"""From a network's probabilities to masks."""

from __future__ import annotations

import torch
from torch import Tensor


def against_background(found: Tensor) -> Tensor:
    """Each class against background: the greatest of several classes may have less than half of a pixel.

    Args:
        found: (slices, 1 + classes, ...), a softmax with background first.

    Returns:
        (slices, classes, ...) in [0, 1].
    """
    return found[:, 1:] / (found[:, 1:] + found[:, :1]).clamp(min=1e-6)


def mask_of(probabilities: Tensor) -> Tensor:
    """Classes (slices, rows, columns) of probabilities (slices, classes, rows, columns); 0 where none exceeds 0.5."""
    return torch.where(probabilities.amax(dim=1) > 0.5, probabilities.argmax(dim=1) + 1, 0)
