"""What follows from the word that a class is not on a slice, or is."""

from __future__ import annotations

import torch
from torch import Tensor

from wsseg.labels.space import NO, YES

SURE = 0.999
"""Greatest probability that an absent class is charged for; above it the gradient would grow without bound."""

TOP = 2000
"""A class that is present shows in one pixel of so many at least."""


def absence_loss(log_probability: Tensor, presence: Tensor) -> Tensor:
    """-log(1 - p) of classes that are not there, summed over classes, mean over all pixels of such slices.

    Args:
        log_probability: (batch, 1 + classes, rows, columns).
        presence: (batch, classes) of 1, 0 and -1 (unknown, no loss).
    """
    absent = presence == NO
    each = -torch.log1p(-log_probability[:, 1:].exp().clamp(max=SURE)).flatten(2).mean(dim=2)
    return (each * absent).sum() / absent.any(dim=1).sum().clamp(min=1)


def pooled_presence_loss(log_probability: Tensor, presence: Tensor) -> Tensor:
    """-log p over the pixels most like a class that is there: one in 2000, at least four (top-k pooling).

    Multiple-instance learning on the mask's own pixels: presence needs no head
    of its own (Pinheiro and Collobert 2015 pool by log-sum-exp; the mean of the
    top k has its bounded gradient without a constant of sharpness).
    Arguments as above.
    """
    present = presence == YES
    pixels = log_probability[:, 1:].flatten(2)
    count = min(pixels.shape[2], max(4, pixels.shape[2] // TOP))
    each = -pixels.topk(count, dim=2).values.mean(dim=2)
    return (each * present).sum() / present.sum().clamp(min=1)
