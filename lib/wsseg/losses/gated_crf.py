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


ALIKE = 0.7
"""Intensities so many local standard deviations apart are alike; across a clear border they are two apart."""

AROUND = 15
"""Side in pixels of the square in which intensities are compared."""

NOISE = 2.0
"""The least of a local standard deviation, in medians of the difference between neighbours: what is noise is alike."""


def gated_crf(probability: Tensor, image: Tensor) -> Tensor:
    """Mean over pixel pairs of k(i, j) (1 - sum_c p_c(i) p_c(j)): Potts' energy of a conditional random field.

    k(i, j) = exp(-|I_i - I_j|^2 / 2 (ALIKE s_i)^2 - |i - j|^2 / 2 NEAR^2), sum of
    squares over channels, where s is the standard deviation around i: a border is
    one by the contrast there is, of whatever unit and sign.

    Args:
        probability: (batch, 1 + classes, rows, columns), with gradient.
        image: (batch, channels, rows, columns), the slices themselves.
    """
    if min(image.shape[2:]) > FINEST:
        probability, image = functional.avg_pool2d(probability, 2), functional.avg_pool2d(image, 2)
    scale = ALIKE * _contrast(image)
    rows, columns = image.shape[2:]
    energies = []
    for down, right in OFFSETS:
        here = (..., slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
        there = (..., slice(down, rows), slice(max(0, right), columns - max(0, -right)))
        apart = ((image[here] - image[there]) / scale[here]).square().sum(dim=1) / 2
        kernel = torch.exp(-apart - (down**2 + right**2) / (2 * NEAR**2))
        energies.append((kernel * (1 - (probability[here] * probability[there]).sum(dim=1))).mean())
    return torch.stack(energies).mean()


def _contrast(image: Tensor) -> Tensor:
    """Standard deviation around each pixel, that of noise at least, (batch, channels, rows, columns)."""
    mean, square = _around(image), _around(image**2)
    noise = NOISE * _noise(image)[..., None, None]
    return (square - mean**2).clamp(min=0).sqrt().maximum(noise).clamp(min=1e-3)


def _around(image: Tensor) -> Tensor:
    """Mean over the square around each pixel: along columns, then along rows."""
    for side in ((AROUND, 1), (1, AROUND)):
        padding = (side[0] // 2, side[1] // 2)
        image = functional.avg_pool2d(image, side, 1, padding, count_include_pad=False)
    return image


def _noise(image: Tensor) -> Tensor:
    """Median difference between neighbours, in every third row and without black and white, (batch, channels)."""
    rows = image[..., ::3, :]
    step = (rows[..., 1:] - rows[..., :-1]).abs()
    grey = rows.abs()[..., 1:] < 1
    return torch.where(grey, step, torch.nan).flatten(2).nanmedian(dim=2).values.nan_to_num(0.0)
