"""MONAI's U-Net with its encoder open to a second decoder."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn


class SharedUNet(nn.Module):
    """Five encoder levels and the convolutional decoder over them.

    Args:
        widths: channels of the levels, the finest first.
        classes: channels of the result, background counted.
        channels: of the input.
    """

    def __init__(self, widths: Sequence[int], classes: int, channels: int = 1) -> None:
        super().__init__()
        self.unet = BasicUNet(2, channels, classes, features=(*widths, widths[0]), norm="batch")

    def encode(self, images: Tensor) -> list[Tensor]:
        """Activations of all levels for (batch, channels, rows, columns), finest first, each half the side of the last."""
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
