"""What tells good masks from swollen ones where nothing but a few strokes is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

NEAR = 4.0
"""Pixels from a stroke of another class within which a border must lie, so that a pixel's label says much."""


def beside_borders(targets: Tensor, known: Tensor) -> Tensor:
    """Weights of labelled pixels, exp(-d / NEAR) with d the distance to the next one of another class in the slice.

    Args:
        targets: (slices, rows, columns) classes, right where ``known``.

    Returns:
        (slices, rows, columns) float32; 0 where nothing is known.
    """
    weights = np.zeros(known.shape, np.float32)
    for index, (plane, told) in enumerate(zip(targets.numpy(), known.numpy(), strict=True)):
        for value in np.unique(plane[told]):
            others = told & (plane != value)
            if others.any():
                own = told & (plane == value)
                weights[index][own] = np.exp(-ndimage.distance_transform_edt(~others)[own] / NEAR)
    return torch.from_numpy(weights)


def dice_beside_borders(masks: Tensor, targets: Tensor, known: Tensor, classes: int) -> float:
    """Dice over labelled pixels under those weights, mean over classes that are labelled; NaN without any.

    Args:
        masks: (slices, rows, columns), 0 background; the others as above.
    """
    weight, found = beside_borders(targets, known), []
    for value in range(1, classes + 1):
        own, true = (weight * (plane == value) for plane in (masks, targets))
        if true.any():
            found.append(2 * (own * (targets == value)).sum() / (own.sum() + true.sum()))
    return float(torch.stack(found).mean()) if found else float("nan")


def volume_agreement(masks: Sequence[Tensor], classes: int) -> float:
    """1 - deviation / mean of a class's volume over several looks at one scan, mean over classes; 1 without any.

    Args:
        masks: each (slices, rows, columns), 0 background.
    """
    volumes = torch.tensor([[float((mask == k + 1).sum()) for k in range(classes)] for mask in masks])
    found = volumes[:, volumes.mean(dim=0) > 0]
    if not found.numel():
        return 1.0
    apart = found.std(dim=0, correction=0) / found.mean(dim=0)
    return float((1 - apart).clamp(min=0).mean())
