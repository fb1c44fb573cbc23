"""A residual U-Net for slices, fast on a CPU: its trunk works at half the resolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsseg.networks.folding import Folding

FINISH = 8
"""Channels of the finish at full resolution, where every channel costs most."""


ENDS = ("stem", "finish", "answer")
"""Parts whose shape follows from what goes in and out."""


class ResidualUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) of residual blocks (He et al. 2016), one a level on either side.

    A convolution of stride 2 takes the slices in; the last 3 x 3 convolution sees
    them again beside the trunk's upsampled answer, so that borders follow pixels.

    Args:
        channels: of the input.
        outputs: channels of the answer.
        widths: channels of the levels, the finest first.

    Attributes:
        channels: of what :meth:`encode` gives, in its order.
    """

    def __init__(self, channels: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.channels = (channels, *widths)
        self.stem = nn.Conv2d(channels, widths[0], 4, stride=2, padding=1)
        self.first = ResidualBlock(widths[0], widths[0])
        self.down = nn.ModuleList(ResidualBlock(fine, coarse, stride=2) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(ResidualBlock(fine + coarse, fine) for fine, coarse in pairwise(widths))
        self.trunk = nn.Conv2d(widths[0], FINISH, 1)
        self.finish = nn.Conv2d(FINISH + channels, FINISH, 3, padding=1)
        self.answer = nn.Conv2d(FINISH, outputs, 1)

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Take over what another network of these widths has learned; an end only where it sees or answers as much.

        Raises:
            RuntimeError: it is of other widths, or another network.
        """
        own = self.state_dict()
        other = {
            name.split(".")[0] for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape
        } & set(ENDS)
        kept = {name: weight for name, weight in own.items() if name.split(".")[0] in other}
        self.load_state_dict({**weights, **kept})

    def favour(self, output: int, by: float) -> None:
        """Add to one channel of every answer from now on."""
        bias = self.answer.bias
        assert bias is not None
        with torch.no_grad():
            bias[output] += by

    def encode(self, images: Tensor) -> list[Tensor]:
        """Slices (batch, channels, rows, columns), and all levels' activations, the finest first; sides halve."""
        levels = [images, self.first(self.stem(images))]
        for block in self.down:
            levels.append(block(levels[-1]))
        return levels

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits (batch, outputs, rows, columns) of what :meth:`encode` gives."""
        images, found = levels[0], levels[-1]
        for block, level in zip(reversed(self.up), levels[-2:0:-1], strict=True):
            found = block(torch.cat([level, _as_large(found, level)], dim=1))
        found = torch.cat([images.to(found.dtype), _as_large(self.trunk(found), images)], dim=1)
        return self.answer(functional.leaky_relu(self.finish(found), 0.01))

    def forward(self, images: Tensor) -> Tensor:
        """Slices (batch, channels, rows, columns) of any size to logits (batch, outputs, rows, columns)."""
        return self.decode(self.encode(images))


class ResidualBlock(Folding):
    """Two 3 x 3 convolutions beside a shortcut, which take part from the first step on.

    Blocks that begin as their shortcut alone (Goyal et al. 2017) need more steps than minutes on a CPU hold: hearts by
    strokes after 1000 steps from random weights, Dice 0.49 instead of 0.65.

    Normalised by batches and not by groups: a group's statistics are of what is seen, and
    networks that learn from squares look at whole slices later.
    """

    normalised = {"first": "norm", "second": "last_norm"}

    def __init__(self, channels: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.last_norm = nn.BatchNorm2d(outputs)
        alike = channels == outputs and stride == 1
        self.shortcut = nn.Identity() if alike else nn.Conv2d(channels, outputs, 1, stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (batch, channels, rows, columns) to (batch, outputs, rows / stride, columns / stride)."""
        inner = functional.leaky_relu(self.norm(self.first(images)), 0.01)
        return functional.leaky_relu(self.last_norm(self.second(inner)) + self.shortcut(images), 0.01)


def _as_large(images: Tensor, other: Tensor) -> Tensor:
    return functional.interpolate(images, size=other.shape[2:], mode="bilinear", align_corners=False)
