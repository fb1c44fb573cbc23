"""From features at several scales and the image itself to an embedding of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

STEM = 16
"""Channels of what the decoder sees in the image itself."""


class PixelDecoder(nn.Module):
    """Features are merged from coarse to fine, brought to the image's own grid and refined there.

    Args:
        channels: of the features, coarsest first.
        width: channels inside.
        embedding: length of a pixel's vector.
        native: look at the image itself too, which knows borders that features
            of a smaller grid do not.
        classes: findings; with background each has a prototype.
    """

    def __init__(self, channels: Sequence[int], width: int, embedding: int, native: bool, classes: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.GroupNorm(8, count), nn.Conv2d(count, width, 1)) for count in channels
        )
        self.merge = nn.ModuleList(_block(width, width) for _ in channels)
        self.stem = nn.Sequential(_block(1, STEM), _block(STEM, STEM)) if native else None
        self.refine = nn.Sequential(_block(width + (STEM if native else 0), width), _block(width, width))
        self.project = nn.Conv2d(width, embedding, 1)
        self.prototypes = nn.Parameter(torch.randn(1 + classes, embedding))

    def forward(self, features: Sequence[Tensor], images: Tensor) -> Tensor:
        """Unit vectors (batch, embedding, size, size), float32.

        Args:
            features: per level (batch, channels, rows, columns), coarsest first.
            images: (batch, 1, size, size).
        """
        hidden = self.merge[0](self.lateral[0](features[0]))
        for lateral, merge, level in zip(self.lateral[1:], self.merge[1:], features[1:], strict=True):
            hidden = merge(lateral(level) + _resize(hidden, level))
        hidden = _resize(hidden, images)
        if self.stem is not None:
            hidden = torch.cat([hidden, self.stem(images)], dim=1)
        return functional.normalize(cast(Tensor, self.project(self.refine(hidden))).float(), dim=1)

    def scores(self, embedded: Tensor) -> Tensor:
        """Cosine of every pixel's vector to each prototype, background first: (batch, 1 + classes, size, size)."""
        with torch.autocast(embedded.device.type, enabled=False):
            return torch.einsum("bdhw,kd->bkhw", embedded.float(), functional.normalize(self.prototypes.float(), dim=1))


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU())


def _resize(hidden: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(hidden, like.shape[2:], mode="bilinear", align_corners=False)
