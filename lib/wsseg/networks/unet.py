"""Denoising U-Nets, on diffusers."""

from __future__ import annotations

from typing import cast

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn


class DenoisingUNet(nn.Module):
    """A U-Net that learns what images look like, without any condition.

    Args:
        widths: channels per level, finest first; attention in the last two.
        channels: of the images.
    """

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.widths = widths
        self.unet = _unet(widths, channels, conditional=False)

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Velocity, of the shape of ``noisy`` (batch, channels, rows, columns)."""
        return cast(Tensor, self.unet(noisy, steps).sample)

    def decoder_levels(self) -> list[tuple[nn.Module, int]]:
        """As :meth:`ConditionalUNet.decoder_levels`."""
        return _decoder_levels(self.unet, self.widths)


class ConditionalUNet(nn.Module):
    """A U-Net whose condition is a vector that may be mixed freely.

    ``condition.weight`` holds one row per class and state: 2 k for class k
    absent, 2 k + 1 for present. The row is added to the time embedding and
    enters every residual block through scale and shift, as in the paper.

    Args:
        widths: channels per level, finest first; attention in the last two.
        rows: condition rows.
    """

    def __init__(self, widths: tuple[int, ...], rows: int) -> None:
        super().__init__()
        self.widths = widths
        self.unet = _unet(widths, 1, conditional=True)
        self.condition = nn.Embedding(rows, widths[0] * 4)

    def forward(self, noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """Velocity (batch, 1, size, size) for condition vectors (batch, width)."""
        return cast(Tensor, self.unet(noisy, steps, class_labels=condition).sample)

    def rows(self, index: Tensor) -> Tensor:
        """Condition vectors of table rows (batch,)."""
        return cast(Tensor, self.condition(index))

    def row(self, index: int, like: Tensor) -> Tensor:
        """One condition vector (1, width) on the device of ``like``."""
        return self.rows(torch.tensor([index], device=like.device))

    def decoder_levels(self) -> list[tuple[nn.Module, int]]:
        """The last block of every decoder level before its upsampling, coarsest first, with its channels."""
        return _decoder_levels(self.unet, self.widths)


def _unet(widths: tuple[int, ...], channels: int, conditional: bool) -> UNet2DModel:
    plain, deep = len(widths) - 2, 2
    unet = UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",) * deep,
        up_block_types=("AttnUpBlock2D",) * deep + ("UpBlock2D",) * plain,
        class_embed_type="identity" if conditional else None,
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=32,
        attn_norm_num_groups=32,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(cast(Tensor, unet.conv_out.bias))
    return unet


def _decoder_levels(unet: UNet2DModel, widths: tuple[int, ...]) -> list[tuple[nn.Module, int]]:
    blocks = [block.attentions[-1] if hasattr(block, "attentions") else block.resnets[-1] for block in unet.up_blocks]
    return list(zip(blocks, reversed(widths), strict=True))
