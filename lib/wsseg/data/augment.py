"""Random flips, rotation, scaling, shift, contrast; drawn apart from where they are applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """What is done to one slice.

    Attributes:
        flip: mirror the first in-plane axis (left and right of an axial slice).
        angle: rotation in radians.
        scale: magnification.
        shift: rows, columns, in parts of half the slice.
        gamma: exponent of the intensity in [0, 1].
        gain: factor on the intensity in [0, 1].
    """

    flip: bool
    angle: float
    scale: float
    shift: tuple[float, float]
    gamma: float
    gain: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        """Within the ranges seen between patients and scanners."""
        down, right = rng.uniform(-0.06, 0.06, 2)
        return cls(
            flip=bool(rng.random() < 0.5),
            angle=float(rng.uniform(-0.2, 0.2)),
            scale=float(rng.uniform(0.9, 1.12)),
            shift=(float(down), float(right)),
            gamma=float(np.exp(rng.uniform(-0.25, 0.25))),
            gain=float(rng.uniform(0.88, 1.12)),
        )

    def matrix(self) -> list[list[float]]:
        """The 2 x 3 sampling transform that ``affine_grid`` expects (columns, rows)."""
        cos, sin = np.cos(self.angle) / self.scale, np.sin(self.angle) / self.scale
        mirror = -1.0 if self.flip else 1.0
        return [[cos, -sin, self.shift[1]], [mirror * sin, mirror * cos, self.shift[0]]]


def augment(images: Tensor, pixels: Tensor, draws: Sequence[Augmentation]) -> tuple[Tensor, Tensor]:
    """Apply one augmentation to each slice (batch, 1, size, size) in [-1, 1] and its pixel labels.

    Args:
        pixels: (batch, size, size) uint8, moved without interpolation; 0 moves in.
    """
    matrices = torch.tensor([draw.matrix() for draw in draws], dtype=images.dtype)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images + 1, grid, align_corners=False) / 2
    gamma = torch.tensor([draw.gamma for draw in draws], dtype=images.dtype).view(-1, 1, 1, 1)
    gain = torch.tensor([draw.gain for draw in draws], dtype=images.dtype).view(-1, 1, 1, 1)
    labels = functional.grid_sample(pixels[:, None].to(images.dtype), grid, mode="nearest", align_corners=False)
    return (moved.clamp(0, 1) ** gamma * gain).clamp(0, 1) * 2 - 1, labels[:, 0].round().to(torch.uint8)
