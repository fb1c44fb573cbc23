"""Dynamic mix (PCLMix, section "dynamic mix augmentation"): a rectangle of one slice in another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

AREA = 0.2
"""Part of the slice that the rectangle covers."""


@dataclass(frozen=True)
class Mix:
    """Which slice each pixel of a mixed batch comes from.

    Attributes:
        first, second: (batch,) positions of the two slices that each is mixed of.
        takes_first: (batch, rows, columns) bool.
    """

    first: Tensor
    second: Tensor
    takes_first: Tensor

    @classmethod
    def draw(cls, uniform: Tensor, rows: int, columns: int) -> Mix:
        """One rectangle of random place and aspect a slice; a fair coin decides which slice is inside.

        Args:
            uniform: (batch, 4) in [0, 1): order of the first slices, of the
                second, the rectangle's place and aspect, the coin.
        """
        generators = [torch.Generator().manual_seed(int(seed * 2**31)) for seed in uniform[:, 2].tolist()]
        sampled = torch.stack([torch.rand(3, generator=generator) for generator in generators]).to(uniform.device)
        aspect = torch.exp((2 * sampled[:, 0] - 1) * torch.log(torch.tensor(2.0)))
        height, width = (AREA * aspect) ** 0.5, (AREA / aspect) ** 0.5
        top, left = sampled[:, 1] * (1 - height), sampled[:, 2] * (1 - width)
        down = (torch.arange(rows, device=uniform.device) + 0.5) / rows
        right = (torch.arange(columns, device=uniform.device) + 0.5) / columns
        inside_rows = (down >= top[:, None]) & (down < (top + height)[:, None])
        inside_columns = (right >= left[:, None]) & (right < (left + width)[:, None])
        inside = inside_rows[:, :, None] & inside_columns[:, None, :]
        coin = uniform[:, 3] < 0.5
        return cls(uniform[:, 0].argsort(), uniform[:, 1].argsort(), inside ^ coin[:, None, None])

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """Mix ``one[first]`` with ``other[second]``, both (batch, ..., rows, columns)."""
        shape = (len(one), *[1] * (one.dim() - 3), *one.shape[-2:])
        return torch.where(self.takes_first.view(shape), one[self.first], other[self.second])
