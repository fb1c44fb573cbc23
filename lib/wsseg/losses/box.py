"""What a box around a finding says of its pixels: nothing outside, something in each row and column."""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.losses.absence import SURE

BANDS, EDGE = 16, 2
"""Parts of the height and width of a box, each of which must show the class but for the outermost: boxes are loose."""

FILLED = (0.45, 0.85)
"""Least and greatest part of a box that is filled; an ellipse fills 0.785."""

OUTSIDE = 3.0
BARRIER = 10.0
"""Weights, tightness being 1."""


def box_loss(log_probability: Tensor, boxes: Tensor) -> Tensor:
    """Zero outside the boxes of a class, and inside them tightness and a barrier of size.

    - outside: -log(1 - p), mean over pixels;
    - tightness (Hsu et al. 2019; BoxInst's projection term, Tian et al. 2021):
      -log max p over each band of rows and of columns;
    - size (Kervadec et al. 2020): squared distance of the filled part from FILLED.

    Mean over classes with boxes on their slices. Bands are counted in the box's
    own coordinates, so that rotation and scaling of the slice take them along.

    Args:
        log_probability: (batch, 1 + classes, rows, columns).
        boxes: (batch, classes, 2, rows, columns) uint8, 0 outside, else 1..255
            over the height and over the width of the box a pixel lies in.
    """
    inside = boxes[:, :, 0] > 0
    shown = inside.flatten(2).any(dim=2)
    if not shown.any():
        return log_probability.sum() * 0
    probability, inside = log_probability[:, 1:].exp()[shown], inside[shown]
    outside = (-torch.log1p(-probability.clamp(max=SURE)) * ~inside).flatten(1).sum(dim=1)
    loss = OUTSIDE * (outside / (~inside).flatten(1).sum(dim=1).clamp(min=1)).mean()
    for place in boxes[shown].unbind(dim=1):
        loss = loss + _tightness(probability, place)
    filled = (probability * inside).flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)
    low, high = (FILLED[0] - filled).clamp(min=0), (filled - FILLED[1]).clamp(min=0)
    return loss + BARRIER * (low.square() + high.square()).mean()


def _tightness(probability: Tensor, place: Tensor) -> Tensor:
    """-log of the greatest p in each inner band (n, rows, columns) of places 1..255 in a box, mean."""
    band = (place.long() * BANDS + BANDS - 1) // 256  # 0 outside, which is band 0 and left out with the outermost
    greatest = torch.zeros(len(band), BANDS, dtype=probability.dtype, device=band.device)
    greatest = greatest.scatter_reduce(1, band.flatten(1), probability.flatten(1), "amax")
    seen = torch.zeros_like(greatest).scatter_reduce(1, band.flatten(1), (place > 0).flatten(1).to(greatest), "amax")
    inner = seen[:, EDGE:-EDGE] > 0
    return -(greatest[:, EDGE:-EDGE].clamp(min=1e-4).log() * inner).sum() / inner.sum().clamp(min=1)
