"""A decoder of Swin transformer blocks, the second opinion that PCLMix trains against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

STEP = 4
"""Pixels of the result along a side of a token of the finest level."""

WINDOW = 7
"""Side of the attention windows in tokens."""


class SwinDecoder(nn.Module):
    """From the deepest levels of an encoder to classes, by windowed attention.

    Two blocks a level, the second with shifted windows; between levels linear
    upsampling, and at the end a learned one to the pixels of the slice. There
    are no position embeddings but those of the windows, which are trained and saved.

    Args:
        widths: channels of the encoder's levels, the finest first, each half as wide as the one before.
        classes: channels of the result.
        drop_path: probability that a slice passes the second of a level's blocks by, while training.
    """

    def __init__(self, widths: Sequence[int], classes: int, drop_path: float = 0.0) -> None:
        super().__init__()
        from monai.networks.nets.swin_unetr import BasicLayer  # loading MONAI takes seconds

        coarse_first = list(reversed(widths))
        self.embed = nn.ModuleList(nn.Conv2d(width, width, 1) for width in coarse_first)
        self.blocks = nn.ModuleList(
            BasicLayer(width, 2, max(1, width // 16), (WINDOW, WINDOW), [0.0, drop_path]) for width in coarse_first
        )
        self.join = nn.ModuleList(nn.Conv2d(coarse + fine, fine, 1) for coarse, fine in pairwise(coarse_first))
        fine = max(8, coarse_first[-1] // STEP)
        self.expand = nn.Sequential(nn.Conv2d(coarse_first[-1], fine * STEP**2, 1), nn.PixelShuffle(STEP))
        self.classes = nn.Sequential(nn.GroupNorm(1, fine), nn.GELU(), nn.Conv2d(fine, classes, 3, padding=1))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits (batch, classes, rows, columns), four times as many rows and columns as the finest level has.

        Args:
            levels: activations of the encoder, the finest first.
        """
        coarse_first = list(reversed(levels))
        found = self.blocks[0](self.embed[0](coarse_first[0]))
        for embed, join, block, level in zip(self.embed[1:], self.join, self.blocks[1:], coarse_first[1:], strict=True):
            wide = functional.interpolate(found, level.shape[2:], mode="bilinear", align_corners=False)
            found = block(join(torch.cat([wide, embed(level)], dim=1)))
        return self.classes(self.expand(found))
