"""Borders of masks follow borders in the image (Obukhov et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

OFFSETS = (
    (0, 1),
    (1, 0),
    (1, 1),
    (1, -1),
    (0, 2),
    (2, 0),
    (2, 1),
    (2, -1),
    (1, 2),
    (1, -2),
    (0, 4),
    (4, 0),
    (3, 3),
    (3, -3),
)
"""Rows and columns from a pixel to those it is compared with; the opposite ones are the other's."""

NEAR = 3.0
"""Standard deviation of the kernel in pixels."""

FINEST = 96
"""Above so many rows and columns every second pixel is enough."""


def gated_crf(probability: Tensor, image: Tensor, alike: float) -> Tensor:
    """Mean over pixel pairs of k(i, j) (1 - sum_c p_c(i) p_c(j)): Potts' energy of a conditional random field.

    k(i, j) = exp(-|I_i - I_j|^2 / 2 s^2 - |i - j|^2 / 2 NEAR^2), mean of squares over channels.

    Args:
        probability: (batch, 1 + classes, rows, columns), with gradient.
        image: (batch, channels, rows, columns), the slices themselves.
        alike: s, in the image's unit.
    """
    if min(image.shape[2:]) > FINEST:
        probability, image = functional.avg_pool2d(probability, 2), functional.avg_pool2d(image, 2)
    rows, columns = image.shape[2:]
    energies = []
    for down, right in OFFSETS:
        here = (..., slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
        there = (..., slice(down, rows), slice(max(0, right), columns - max(0, -right)))
        apart = (image[here] - image[there]).square().mean(dim=1) / (2 * alike**2)
        kernel = torch.exp(-apart - (down**2 + right**2) / (2 * NEAR**2))
        energies.append((kernel * (1 - (probability[here] * probability[there]).sum(dim=1))).mean())
    return torch.stack(energies).mean()
