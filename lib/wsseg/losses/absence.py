"""What follows from the word that a class is not on a slice, or is."""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.labels.space import NO, YES

TOP = 2000
"""A class that is present shows in one pixel of so many at least."""


HARDEST = 0.1
"""Weight at the end of training of the pixels most like a class that is absent; a mean over the slice hides them.

With it from the first step on classes that are faint drown.
"""


def absence_loss(log_probability: Tensor, presence: Tensor, hardest: float) -> Tensor:
    """-log(1 - p) of classes that are not there, summed over classes, mean over all pixels of such slices.

    The pixels most like such a class count once more: one in 2000, at least four (hard negatives by top-k,
    as :func:`pooled_presence_loss` takes positives).

    Args:
        log_probability: (batch, 1 + classes, rows, columns).
        presence: (batch, classes) of 1, 0 and -1 (unknown, no loss).
        hardest: weight of those pixels; 0 leaves them out.
    """
    absent = presence == NO
    pixels = against(log_probability).flatten(2)
    each = pixels.mean(dim=2)
    if hardest:
        each = each + hardest * _top(pixels)
    return (each * absent).sum() / absent.any(dim=1).sum().clamp(min=1)


def other_side_loss(log_probability: Tensor, side: Tensor, half: Tensor) -> Tensor:
    """-log(1 - p) of classes that are on one side of the patient only, mean over the pixels of the other side.

    Args:
        log_probability: as above.
        side: (batch, classes), the side, 0 where it is not known.
        half: (batch, rows, columns), the side of each pixel, 0 near the middle or not known.
    """
    where, only = half[:, None], side[..., None, None]
    barred = (where > 0) & (only > 0) & (where != only)
    return (against(log_probability) * barred).sum() / barred.sum().clamp(min=1)


def against(log_probability: Tensor) -> Tensor:
    """-log(1 - p) of each class, (batch, classes, rows, columns).

    Of the likeliest, whose p may be 1 in floating point, it is told from all others together.
    """
    likeliest = log_probability.argmax(dim=1, keepdim=True)
    others = log_probability.scatter(1, likeliest, -torch.inf).logsumexp(dim=1, keepdim=True)
    rest = torch.log1p(-log_probability[:, 1:].exp().clamp(max=0.6))  # others have at most a half
    classes = torch.arange(1, log_probability.shape[1], device=likeliest.device)[:, None, None]
    return -torch.where(likeliest == classes, others, rest)


def pooled_presence_loss(log_probability: Tensor, presence: Tensor) -> Tensor:
    """-log p over the pixels most like a class that is there: one in 2000, at least four (top-k pooling).

    Multiple-instance learning on the mask's own pixels: presence needs no head
    of its own (Pinheiro and Collobert 2015 pool by log-sum-exp; the mean of the
    top k has its bounded gradient without a constant of sharpness).
    Arguments as above.
    """
    present = presence == YES
    each = -_top(log_probability[:, 1:].flatten(2))
    return (each * present).sum() / present.sum().clamp(min=1)


def _top(pixels: Tensor) -> Tensor:
    """Mean of the greatest of each class (batch, classes, pixels): one in TOP, at least four."""
    count = min(pixels.shape[2], max(4, pixels.shape[2] // TOP))
    return pixels.topk(count, dim=2).values.mean(dim=2)
