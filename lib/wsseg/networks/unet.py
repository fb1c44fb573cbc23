"""Denoising U-Nets, with and without a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsseg.networks.timed_blocks import Level, TimeEmbedding


class TimedUNet(nn.Module):
    """diffusers' ``UNet2DModel`` of one block a level, which knows the noise level by scale and shift.

    Args:
        widths: channels per level, finest first, multiples of 32; attention in the last two.
        channels: of the images.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.widths = widths
        finest, deepest, embedding = widths[0], widths[-1], widths[0] * 4
        plain = len(widths) - 2
        self.conv_in = nn.Conv2d(channels, finest, 3, padding=1)
        self.time_embedding = TimeEmbedding(finest, embedding)
        self.down_blocks = nn.ModuleList(
            Level([before], after, embedding, attentions=int(level >= plain), down=level < len(widths) - 1)
            for level, (before, after) in enumerate(zip((finest, *widths), widths, strict=False))
        )
        self.mid_block = Level([deepest, deepest], deepest, embedding, attentions=1)
        coarse_first = widths[::-1]
        self.up_blocks = nn.ModuleList(
            Level([below + own, own + above], own, embedding, attentions=2 * int(level < 2), up=level < len(widths) - 1)
            for level, (below, own, above) in enumerate(
                zip((deepest, *coarse_first), coarse_first, (*coarse_first[1:], finest), strict=False)
            )
        )
        self.conv_norm_out = nn.GroupNorm(32, finest)
        self.conv_out = nn.Conv2d(finest, channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    def forward(self, noisy: Tensor, steps: Tensor, condition: Tensor | None = None) -> Tensor:
        """Maps of the shape of ``noisy`` (batch, channels, rows, columns).

        Args:
            noisy: sides can be halved once a level but the last.
            steps: (batch,) of the noise schedule.
            condition: vectors (batch, 4 widths[0]) that are added to the noise level's.
        """
        embedded = self.time_embedding(steps)
        if condition is not None:
            embedded = embedded + condition
        found = [self.conv_in(noisy)]
        for level in self.down_blocks:
            found += level(found[-1], embedded)
        hidden = self.mid_block(found[-1], embedded)[-1]
        for level in self.up_blocks:
            hidden = level(hidden, embedded, [found.pop(), found.pop()])[-1]
        return cast(Tensor, self.conv_out(functional.silu(self.conv_norm_out(hidden))))

    def decoder_levels(self) -> list[tuple[nn.Module, int]]:
        """The last block of every decoder level before its upsampling, coarsest first, with its channels."""
        return [(cast(Level, level).last(), w) for level, w in zip(self.up_blocks, self.widths[::-1], strict=True)]


class DenoisingUNet(nn.Module):
    """A U-Net that learns what images look like, without any condition.

    Args:
        widths: channels per level, finest first; attention in the last two.
        channels: of the images.
    """

    def __init__(self, widths: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.unet = TimedUNet(widths, channels)

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Velocity, of the shape of ``noisy`` (batch, channels, rows, columns)."""
        return cast(Tensor, self.unet(noisy, steps))

    def decoder_levels(self) -> list[tuple[nn.Module, int]]:
        """As :meth:`ConditionalUNet.decoder_levels`."""
        return self.unet.decoder_levels()


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
        self.unet = TimedUNet(widths, 1)
        self.condition = nn.Embedding(rows, widths[0] * 4)

    def forward(self, noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """Velocity (batch, 1, size, size) for condition vectors (batch, width)."""
        return cast(Tensor, self.unet(noisy, steps, condition))

    def rows(self, index: Tensor) -> Tensor:
        """Condition vectors of table rows (batch,)."""
        return cast(Tensor, self.condition(index))

    def row(self, index: int, like: Tensor) -> Tensor:
        """One condition vector (1, width) on the device of ``like``."""
        return self.rows(torch.tensor([index], device=like.device))

    def decoder_levels(self) -> list[tuple[nn.Module, int]]:
        """The last block of every decoder level before its upsampling, coarsest first, with its channels."""
        return self.unet.decoder_levels()
