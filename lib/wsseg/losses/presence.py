"""The loss of image-level labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def presence_loss(logits: Tensor, presence: Tensor) -> Tensor:
    """Binary cross-entropy over known labels, mean over the batch.

    Args:
        logits: (batch, classes).
        presence: (batch, classes) of 1, 0 and -1 (unknown, no loss).
    """
    known = (presence >= 0).float()
    target = presence.clamp(min=0).float()
    each = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (each * known).sum(dim=1).mean()
