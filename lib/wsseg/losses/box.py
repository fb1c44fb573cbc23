"""What a box around a finding says of its pixels: nothing outside, a rounded body inside."""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.labels.marks import BANDS
from wsseg.labels.space import BACKGROUND
from wsseg.losses.absence import against

OUTSIDE = 3.0
"""Weight of what is outside, inside being 1."""

BODY, SHARP = 0.95, 6.0
"""Where the class is as probable as not, in half axes of a box without its rim, and how steeply that falls.

An ellipse of 0.9 half axes fills 0.63: liver, kidneys, spleen, brainstem and hippocampus fill 0.55 to 0.7 of boxes
that are one voxel loose; what is missed at pointed ends asks for a little more.
"""


TOLD = 0.25
"""Part of a class's boxes on a slice that is the class's own or background where it is drawn or completed.

A point labels a 25th of a box that is not small.
"""


def box_loss(log_probability: Tensor, boxes: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy outside the boxes of a class, and inside them with how often a place in a box is filled.

    - outside: -log(1 - p), mean over pixels;
    - inside: -q log p - (1 - q) log(1 - p), mean over pixels, with q = sigmoid(SHARP (BODY - r)),
      r the distance from the box's middle in half axes. Many boxes teach what
      their findings have in common, as masks made of boxes do (Khoreva et al.
      2017), but without a border that is wrong in each of them. It should fade, and is asked of no class
      whose boxes are labelled: what is drawn there, or completed to a mask, says more (hippocampi 0.823
      instead of 0.781).

    Either is a mean over classes that have boxes on their slice. Tightness
    (Hsu et al. 2019; BoxInst's projection, Tian et al. 2021) with a barrier of
    size and seeds reached Dice 0.70 where this reaches 0.75: loose boxes draw
    horns into their corners.

    Args:
        log_probability: (batch, 1 + classes, rows, columns).
        boxes: (batch, classes, rows, columns) uint8, 0 outside, else 16 times the
            row band and the column band of the box a pixel lies in, each 1..BANDS.
        pixels: (batch, rows, columns) uint8 labels of pixels; 0 not labelled, 1..N the classes, 255 background.
    """
    inside = boxes > 0
    shown = inside.flatten(2).any(dim=2)
    if not shown.any():
        nothing = log_probability.sum() * 0
        return nothing, nothing
    classes = torch.arange(1, boxes.shape[1] + 1, device=boxes.device)[:, None, None]
    labelled = inside & ((pixels[:, None] == classes) | (pixels[:, None] == BACKGROUND))
    told = labelled.flatten(2).sum(dim=2) > TOLD * inside.flatten(2).sum(dim=2)
    found, denied = log_probability[:, 1:][shown], against(log_probability)[shown]
    inside, asked, often = inside[shown], ~told[shown], filled(boxes[shown])
    body = (often * -found + (1 - often) * denied)[asked]
    return OUTSIDE * _mean(denied, ~inside), _mean(body, inside[asked]) if len(body) else found.sum() * 0


def filled(boxes: Tensor) -> Tensor:
    """How often a place in a box is filled; bands 1 and BANDS are its rim, which is there because boxes are loose."""
    middle, half = (BANDS + 1) / 2, (BANDS - 2) / 2
    down, along = ((bands.float() - middle) / half for bands in (boxes // 16, boxes % 16))
    return torch.sigmoid(SHARP * (BODY - torch.hypot(down, along)))


def _mean(each: Tensor, where: Tensor) -> Tensor:
    """Mean over the pixels of each class that are meant, then over classes."""
    return ((each * where).flatten(1).sum(dim=1) / where.flatten(1).sum(dim=1).clamp(min=1)).mean()
