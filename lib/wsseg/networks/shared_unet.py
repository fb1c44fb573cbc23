"""A U-Net with its encoder open to a second decoder.

Weights are named as in MONAI's ``BasicUNet``, and outputs are its own; to load that
library takes longer than to segment a scan.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from wsseg.networks.folding import Folding


class SharedUNet(nn.Module):
    """Five encoder levels and the convolutional decoder over them.

    Args:
        widths: channels of the levels, the finest first.
        classes: channels of the result, background counted.
        channels: of the input.

    Attributes:
        channels: of what :meth:`encode` gives, in its order.
    """

    def __init__(self, widths: Sequence[int], classes: int, channels: int = 1) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.unet = _UNet(widths, classes, channels)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Activations of all levels for (batch, channels, rows, columns), finest first; sides halve."""
        levels = [self.unet.conv_0(images)]
        for down in (self.unet.down_1, self.unet.down_2, self.unet.down_3, self.unet.down_4):
            levels.append(down(levels[-1]))
        return levels

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits (batch, classes, rows, columns)."""
        found = levels[4]
        for up, skip in zip(
            (self.unet.upcat_4, self.unet.upcat_3, self.unet.upcat_2, self.unet.upcat_1), levels[3::-1], strict=True
        ):
            found = up(found, skip)
        return self.unet.final_conv(found)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes, rows, columns); sides divisible by 16."""
        return self.decode(self.encode(images))


class _UNet(nn.Module):
    def __init__(self, widths: Sequence[int], classes: int, channels: int) -> None:
        super().__init__()
        first, second, third, fourth, fifth = widths
        self.conv_0 = _convolutions(channels, first)
        self.down_1, self.down_2 = _down(first, second), _down(second, third)
        self.down_3, self.down_4 = _down(third, fourth), _down(fourth, fifth)
        self.upcat_4, self.upcat_3 = _Up(fifth, fifth // 2, fourth), _Up(fourth, fourth // 2, third)
        self.upcat_2, self.upcat_1 = _Up(third, third // 2, second), _Up(second, second, first)
        self.final_conv = nn.Conv2d(first, classes, 1)


class _Up(nn.Module):
    """Sides are doubled; what the encoder had at that size comes in beside."""

    def __init__(self, below: int, between: int, width: int) -> None:
        super().__init__()
        self.upsample = nn.Sequential(OrderedDict(deconv=nn.ConvTranspose2d(below, between, 2, stride=2)))
        self.convs = _convolutions(width + between, width)

    def forward(self, hidden: Tensor, skipped: Tensor) -> Tensor:
        return cast(Tensor, self.convs(torch.cat([skipped, self.upsample(hidden)], dim=1)))


def _down(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(max_pooling=nn.MaxPool2d(2), convs=_convolutions(before, after)))


def _convolutions(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv_0=_Convolution(before, after), conv_1=_Convolution(after, after)))


class _Convolution(Folding):
    normalised = {"conv": "adn.N"}

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.adn = nn.Sequential(OrderedDict(N=nn.BatchNorm2d(after), A=nn.LeakyReLU(0.1, inplace=True)))

    def forward(self, hidden: Tensor) -> Tensor:
        return cast(Tensor, self.adn(self.conv(hidden)))
