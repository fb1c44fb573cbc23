"""Learning from a teacher's probabilities where nobody labelled (Han et al. 2024, DMSPS)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

PACE = 0.02
"""Part by which the usual certainty follows that of a batch."""

NEARLY = 0.9
"""Part of a class's usual certainty that a pixel needs."""


class ClassCertainty(nn.Module):
    """How sure a teacher usually is of each class, so that rare and difficult ones have a limit of their own.

    After the self-adaptive thresholds of FreeMatch (Wang et al. 2023).

    Args:
        classes: their number, background counted.
    """

    usual: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("usual", torch.full((classes,), 1 / classes))

    @torch.no_grad()
    def sure(self, labels: Tensor, open_: Tensor) -> Tensor:
        """Where labels are about as sure as usual for their class, (batch, rows, columns) bool.

        Args:
            labels: (batch, classes, rows, columns), probabilities.
            open_: (batch, rows, columns) bool, where labels are wanted; certainty is measured there.
        """
        greatest, said = labels.max(dim=1)
        for k in range(len(self.usual)):
            own = open_ & (said == k)
            if own.any():
                self.usual[k] += PACE * (greatest[own].float().mean() - self.usual[k])
        return open_ & (greatest >= NEARLY * self.usual[said])


def mixed_opinions(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """share p_one + (1 - share) p_other: soft labels of two opinions, mixed anew each time.

    Args:
        one, other: logits (batch, classes, rows, columns).
        share: (batch,) in [0, 1].
    """
    part = share.view(-1, 1, 1, 1)
    return part * torch.softmax(one.float(), dim=1) + (1 - part) * torch.softmax(other.float(), dim=1)


def soft_cross_entropy(logits: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    """Mean of -sum_c q_c log p_c over some pixels, 0 without any.

    Args:
        logits: (batch, classes, rows, columns).
        labels: q, of the same shape, sums of 1 over classes.
        where: (batch, rows, columns) bool.
    """
    each = -(labels * functional.log_softmax(logits.float(), dim=1)).sum(dim=1)
    return (each * where).sum() / where.sum().clamp(min=1)
