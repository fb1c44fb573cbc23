"""From a network's probabilities to masks."""

from __future__ import annotations

import torch
from torch import Tensor

UNLIKELY = 0.0025
"""A pixel that is no class with more than this probability is background without doubt, in whole percents."""


def against_background(found: Tensor) -> Tensor:
    """Each class against background: the greatest of several classes may have less than half of a pixel.

    Args:
        found: (slices, 1 + classes, ...), a softmax with background first.

    Returns:
        (slices, classes, ...) in [0, 1].
    """
    return found[:, 1:] / (found[:, 1:] + found[:, :1]).clamp(min=1e-6)


def mask_of(probabilities: Tensor) -> Tensor:
    """Classes (slices, rows, columns), uint8, of probabilities (slices, classes, rows, columns).

    0 where none exceeds 0.5. Class by class: all indices of a large CT at once are gigabytes.
    """
    best = torch.full_like(probabilities[:, 0], 0.5)
    found = torch.zeros_like(best, dtype=torch.uint8)
    for k, own in enumerate(probabilities.unbind(dim=1)):
        found[own > best] = k + 1
        best = torch.maximum(best, own)
    return found
