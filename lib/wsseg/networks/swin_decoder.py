"""A decoder of Swin transformer blocks, the second opinion that PCLMix trains against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from monai.networks.nets.swin_unetr import BasicLayer
from torch import Tensor, nn
from torch.nn import functional


class SwinDecoder(nn.Module):
    """From the deepest levels of an encoder to classes, by windowed attention.

    Two blocks a level, the second with shifted windows; between levels linear
    upsampling, and at the end to the size of the input. There are no position
    embeddings but those of the windows, which are trained and saved.

    Args:
        widths: channels of the encoder's levels, the finest first, each half as wide as the one before.
        classes: channels of the result.
        window: side of the attention windows in tokens.
    """

    def __init__(self, widths: Sequence[int], classes: int, window: int = 7) -> None:
        super().__init__()
        coarse_first = list(reversed(widths))
        self.embed = nn.ModuleList(nn.Conv2d(width, width, 1) for width in coarse_first)
        self.blocks = nn.ModuleList(
            BasicLayer(width, 2, max(1, width // 16), (window, window), [0.0, 0.0]) for width in coarse_first
        )
        self.join = nn.ModuleList(nn.Conv2d(coarse + fine, fine, 1) for coarse, fine in pairwise(coarse_first))
        self.classes = nn.Conv2d(coarse_first[-1], classes, 1)

    def forward(self, levels: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Logits (batch, classes, *size).

        Args:
            levels: activations of the encoder, the finest first.
            size: rows and columns of the result.
        """
        coarse_first = list(reversed(levels))
        found = self.blocks[0](self.embed[0](coarse_first[0]))
        for embed, join, block, level in zip(self.embed[1:], self.join, self.blocks[1:], coarse_first[1:], strict=True):
            wide = functional.interpolate(found, level.shape[2:], mode="bilinear", align_corners=False)
            found = block(join(torch.cat([wide, embed(level)], dim=1)))
        return functional.interpolate(self.classes(found), tuple(size), mode="bilinear", align_corners=False)
