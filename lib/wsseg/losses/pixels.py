"""Losses of pixel labels that leave most pixels unlabelled."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pixel_cross_entropy(logits: Tensor, target: Tensor, known: Tensor, balanced: bool) -> Tensor:
    """Cross-entropy over labelled pixels.

    Args:
        logits: (batch, 1 + classes, rows, columns).
        target: (batch, rows, columns), 0 background, 1..N.
        known: (batch, rows, columns) bool.
        balanced: every class in the batch weighs the same; else every pixel.
    """
    each = functional.cross_entropy(logits.float(), target, reduction="none")
    if not balanced or not known.any():
        return (each * known).sum() / known.sum().clamp(min=1)
    return torch.stack([each[known & (target == label)].mean() for label in target[known].unique()]).mean()


MOST_BACKGROUND = 5.0
"""Most that background pixels weigh together, in pixels of classes."""

LEAST_SHARE = 0.05
"""Smallest share of a pixel of background that its logits make up for; beyond it classes that are faint would drown."""


def drawn_cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy over labelled pixels, in which neither background nor what is large swamps the rest.

    A class weighs as the square root of how much is drawn of it in the batch, which is not made up for:
    what is rare should be marked in doubt, as far as a bound on sizes allows (five organs of necks, 1000 steps:
    0.647, and 0.607 where each pixel weighs the same). Strokes hold a few times as much background as
    classes, which keeps masks from swelling; far from points or outside boxes there is a thousand times as much,
    each pixel of which then weighs a share of others. That alone would let masks swell by the
    odds that it takes from background, so background's logits are lower by as much here, and only
    here, which the network has to make up for (logit adjustment, Menon et al. 2021).
    Arguments as above.
    """
    classes, background = known & (target > 0), known & (target == 0)
    share = (MOST_BACKGROUND * classes.sum() / background.sum().clamp(min=1)).clamp(max=1.0)
    lowered = torch.cat([logits[:, :1].float() + share.clamp(min=LEAST_SHARE).log(), logits[:, 1:].float()], dim=1)
    each = functional.cross_entropy(lowered, target, reduction="none")
    counts = torch.bincount(target[classes], minlength=logits.shape[1])
    rarity = counts.clamp(min=1).rsqrt() * counts.sum() / counts.sqrt().sum().clamp(min=1)
    weight = classes * rarity[target] + background * share
    return (each * weight).sum() / weight.sum().clamp(min=1)


def overlap_loss(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """1 - soft Dice of each class over the batch's labelled pixels, mean over classes; arguments as above."""
    from monai.losses.dice import DiceLoss  # loading MONAI takes seconds, which predicting need not wait for

    truth, scores = _labelled(torch.softmax(logits.float(), dim=1), target, known)
    found: Tensor = DiceLoss(include_background=False, batch=True, smooth_nr=1, smooth_dr=1)(scores, truth)
    return found


def squared_dice(scores: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """1 - (2 sum s g + e) / (sum s^2 + sum g^2 + e) over the batch's labelled pixels, mean over all classes.

    Args:
        scores: (batch, 1 + classes, rows, columns), probabilities as a rule.
        target, known: as above.
    """
    from monai.losses.dice import DiceLoss  # loading MONAI takes seconds, which predicting need not wait for

    truth, scores = _labelled(scores, target, known)
    found: Tensor = DiceLoss(squared_pred=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)(scores, truth)
    return found


def _labelled(scores: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The truth, one channel a class, and the scores, both 0 where nothing is known."""
    truth = functional.one_hot(target, scores.shape[1]).movedim(-1, 1).to(scores.dtype)
    return truth * known[:, None], scores * known[:, None]
