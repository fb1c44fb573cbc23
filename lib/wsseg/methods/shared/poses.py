"""The eight ways to lay down a square: what has no upright is looked at in several, and the answers are averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Pose = tuple[bool, int]
"""Whether an image is mirrored, and then how many quarter turns it makes."""

POSES: Sequence[Pose] = [(mirrored, turns) for turns in range(4) for mirrored in (False, True)]


def posed(images: Tensor, pose: Pose) -> Tensor:
    """Images (..., rows, columns) in a pose."""
    mirrored, turns = pose
    return torch.rot90(images.flip(-1) if mirrored else images, turns, (-2, -1))


def unposed(maps: Tensor, pose: Pose) -> Tensor:
    """Maps (..., rows, columns) of images in a pose, laid back."""
    mirrored, turns = pose
    upright = torch.rot90(maps, -turns, (-2, -1))
    return upright.flip(-1) if mirrored else upright
