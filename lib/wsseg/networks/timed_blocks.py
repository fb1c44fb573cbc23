"""Blocks of denoising networks: residual convolutions that know the noise level, attention, steps between levels.

Weights are named as in diffusers' ``UNet2DModel``, and outputs are its own; to load
that library takes longer than to segment a scan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

HEAD = 32
"""Channels of an attention head."""

LONGEST_WAVE = 10_000


class TimeEmbedding(nn.Module):
    """A vector for each step of a noise schedule: waves of many lengths, then two linear maps.

    Args:
        waves: even number.
        width: length of the vector.
    """

    def __init__(self, waves: int, width: int) -> None:
        super().__init__()
        self.waves = waves
        self.linear_1 = nn.Linear(waves, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, steps: Tensor) -> Tensor:
        """Vectors (batch, width) of steps (batch,)."""
        half = self.waves // 2
        exponents = torch.arange(half, dtype=torch.float32, device=steps.device) / half
        angles = steps[:, None].float() * torch.exp(-math.log(LONGEST_WAVE) * exponents)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.linear_1.weight.dtype)
        return cast(Tensor, self.linear_2(functional.silu(self.linear_1(waves))))


class TimedBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; what is between them is scaled and shifted by the noise level."""

    def __init__(self, before: int, after: int, embedding: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, before, eps)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, 2 * after)
        self.norm2 = nn.GroupNorm(groups, after, eps)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.conv_shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        """Maps (batch, after, rows, columns) of maps (batch, before, rows, columns) and vectors (batch, embedding)."""
        inner = self.conv1(functional.silu(self.norm1(hidden)))
        scale, shift = self.time_emb_proj(functional.silu(embedded))[:, :, None, None].chunk(2, dim=1)
        inner = self.conv2(functional.silu(self.norm2(inner) * (1 + scale) + shift))
        return cast(Tensor, self.conv_shortcut(hidden) + inner)


class PixelAttention(nn.Module):
    """Every pixel attends to all others of its slice; added to what came in."""

    def __init__(self, width: int, groups: int, eps: float) -> None:
        super().__init__()
        inner = width // HEAD * HEAD
        self.group_norm = nn.GroupNorm(groups, width, eps)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, inner) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps (batch, width, rows, columns), as many."""
        pixels = self.group_norm(hidden).flatten(2).mT
        heads = (to(pixels).unflatten(2, (-1, HEAD)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        found = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return hidden + self.to_out[0](found).mT.unflatten(2, hidden.shape[2:])


class Step(nn.Module):
    """A 3 x 3 convolution on the way to the next level: after doubling the sides, or halving them."""

    def __init__(self, width: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(width, width, 3, stride=1 if up else 2, padding=1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps (batch, width, 2 rows, 2 columns), or half."""
        return cast(Tensor, self.conv(functional.interpolate(hidden, scale_factor=2) if self.up else hidden))


class Level(nn.Module):
    """The blocks of a level, and the step to the next one.

    Args:
        before: channels that each block takes in.
        width: channels of the level.
        embedding: length of the noise level's vectors.
        attentions: so many blocks, the first, are followed by attention.
        down, up: which step there is, if any.
        groups: of channels that are normalised together.
        eps: of the normalisation.
    """

    def __init__(
        self,
        before: Sequence[int],
        width: int,
        embedding: int,
        attentions: int = 0,
        down: bool = False,
        up: bool = False,
        groups: int = 32,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(TimedBlock(count, width, embedding, groups, eps) for count in before)
        self.attentions = nn.ModuleList(PixelAttention(width, groups, eps) for _ in range(attentions))
        self.downsamplers = nn.ModuleList([Step(width, up=False)] if down else [])
        self.upsamplers = nn.ModuleList([Step(width, up=True)] if up else [])

    def forward(self, hidden: Tensor, embedded: Tensor, skipped: Sequence[Tensor] = ()) -> list[Tensor]:
        """What each block and the step put out, in order; the last goes on.

        Args:
            hidden: maps (batch, channels, rows, columns).
            embedded: vectors (batch, embedding).
            skipped: maps that the blocks see beside, one each; or none.
        """
        found: list[Tensor] = []
        for index, resnet in enumerate(self.resnets):
            hidden = resnet(torch.cat([hidden, skipped[index]], dim=1) if skipped else hidden, embedded)
            if index < len(self.attentions):
                hidden = self.attentions[index](hidden)
            found.append(hidden)
        for step in (*self.downsamplers, *self.upsamplers):
            found.append(step(hidden))
        return found

    def last(self) -> nn.Module:
        """What puts out the last block's maps, before the step."""
        return self.attentions[-1] if len(self.attentions) else self.resnets[-1]
