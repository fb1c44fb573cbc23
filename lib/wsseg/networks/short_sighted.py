"""A network that sees little around each pixel: what it says of one, that pixel's neighbourhood has to show."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class ShortSighted(nn.Module):
    """What speaks for each class at each pixel, and apart from it what the pixel's place alone makes likely.

    Every pixel answers for its whole slice (Bekker and Davis 2020 review learning from positive and
    unlabelled data, which pixels of positive slices are). Seeing a few pixels around, it neither
    recognises the slice by its anatomy nor answers for what is only near a finding; that findings
    are commoner at some places is a term of its own, which is left out later.

    Args:
        channels: of an image, neighbours included.
        places: channels that say where a pixel lies.
        classes: number of findings.
        width: channels of its layers.
    """

    def __init__(self, channels: int, places: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.here = nn.Sequential(
            *_layer(channels, width, 4, stride=2),
            *_layer(width, width, 3),
            *_layer(width, width, 1),
            nn.Conv2d(width, classes, 1),
        )
        self.place = nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(places, width, 1),
            nn.Tanh(),
            nn.Conv2d(width, width, 1),
            nn.Tanh(),
            nn.Conv2d(width, classes, 1),
        )

    def forward(self, images: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, classes, rows / 2, columns / 2) of what is seen at a place, and of the place alone."""
        place: Tensor = self.place(places)
        return self.here(images) + place.detach(), place

    def evidence(self, images: Tensor) -> Tensor:
        """Logits (batch, classes, rows, columns) of what is seen, whatever the place."""
        return functional.interpolate(self.here(images), images.shape[2:], mode="bilinear", align_corners=False)


def _layer(channels: int, width: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False)
    return convolution, nn.BatchNorm2d(width), nn.LeakyReLU(0.01)
