"""What a box around a finding says of its pixels: nothing outside, something in each row and column."""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.labels.marks import BANDS
from wsseg.losses.absence import SURE

EDGE = 2
"""Bands on either side of a box that need not show the class: boxes are loose."""

SEED = 0.6
"""An ellipse of so much of the box's height and width is mostly inside the finding."""

FILLED, SPREAD = 0.62, 0.15
"""Part of a box without its rim that organs fill, and how far from it costs nothing, relatively.

An ellipse fills 0.785; liver, kidneys, spleen, brainstem and hippocampus fill 0.55 to 0.7 of boxes one voxel loose.
"""

OUTSIDE = 3.0
BARRIER = 3.0
"""Weights, tightness being 1."""


def box_loss(log_probability: Tensor, boxes: Tensor) -> Tensor:
    """Zero outside the boxes of a class, and inside them tightness and a barrier of size.

    - outside: -log(1 - p), mean over pixels;
    - tightness (Hsu et al. 2019; BoxInst's projection term, Tian et al. 2021):
      -log max p over each band of rows and of columns;
    - size (Kervadec et al. 2019): squared relative distance of the filled part from FILLED, beyond SPREAD.

    Mean over classes with boxes on their slices. Bands are counted in the box's
    own coordinates, so that rotation and scaling of the slice take them along.

    Args:
        log_probability: (batch, 1 + classes, rows, columns).
        boxes: (batch, classes, rows, columns) uint8, 0 outside, else 16 times the
            row band and the column band of the box a pixel lies in, each 1..BANDS.
    """
    inside = boxes > 0
    shown = inside.flatten(2).any(dim=2)
    if not shown.any():
        return log_probability.sum() * 0
    probability, inside = log_probability[:, 1:].exp()[shown], inside[shown]
    outside = (-torch.log1p(-probability.clamp(max=SURE)) * ~inside).flatten(1).sum(dim=1)
    loss = OUTSIDE * (outside / (~inside).flatten(1).sum(dim=1).clamp(min=1)).mean()
    for bands in _bands(boxes[shown]):
        loss = loss + _tightness(probability, bands)
    usual = FILLED * _within_rim(boxes[shown]).flatten(1).sum(dim=1).clamp(min=1)
    size = ((probability * inside).flatten(1).sum(dim=1) / usual).clamp(max=3)
    return loss + BARRIER * ((size - 1).abs() - SPREAD).clamp(min=0).square().mean()


def seed_loss(log_probability: Tensor, boxes: Tensor) -> Tensor:
    """-log p in the ellipse in the middle of each box, mean over pixels; arguments as above.

    A finding may be hollow or bent: this is right on the whole and wrong here
    and there, so it should fade while training goes on.
    """
    down, along = (2 * (bands.float() - 0.5) / BANDS - 1 for bands in _bands(boxes))
    seeds = (boxes > 0) & (down.square() + along.square() < SEED**2)
    return -(log_probability[:, 1:] * seeds).sum() / seeds.sum().clamp(min=1)


def _within_rim(boxes: Tensor) -> Tensor:
    """Where a box is without its outermost voxels, which are there because boxes are loose."""
    down, along = _bands(boxes)
    return (down > 1) & (down < BANDS) & (along > 1) & (along < BANDS)


def _bands(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column bands, 1..BANDS; 0 outside."""
    return boxes.long() // 16, boxes.long() % 16


def _tightness(probability: Tensor, bands: Tensor) -> Tensor:
    """-log of the greatest p (n, rows, columns) in each inner band, mean."""
    greatest, seen = (
        torch.zeros(len(bands), BANDS + 1, dtype=probability.dtype, device=bands.device).scatter_reduce(
            1, bands.flatten(1), values.flatten(1), "amax"
        )
        for values in (probability, (bands > 0).to(probability))
    )
    inner = slice(1 + EDGE, -EDGE)
    there = seen[:, inner] > 0
    return -(greatest[:, inner].clamp(min=1e-4).log() * there).sum() / there.sum().clamp(min=1)
