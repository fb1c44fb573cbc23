"""Networks that say which classes a slice shows: of noised slices, p(y | x_t, t), and one that maps are taken from."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from wsseg.networks.timed_blocks import Level, TimeEmbedding

if TYPE_CHECKING:
    from monai.networks.nets.resnet import ResNet


class NoisyClassifier(nn.Module):
    """Half a diffusion U-Net: its residual blocks down, then pooling.

    Max and mean pooling together (``amax`` gives NaN gradients once compiled,
    torch 2.15, hence the pooling function): a small finding is a maximum, a large one a
    mean.

    Args:
        widths: channels per level, each half the size of the one before.
        classes: number of logits.
    """

    def __init__(self, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        embedding = widths[0] * 4
        self.time = TimeEmbedding(widths[0], embedding)
        self.stem = nn.Conv2d(1, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(
            Level([before], after, embedding, down=level < len(widths) - 1, groups=8, eps=1e-6)
            for level, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.norm = nn.GroupNorm(8, widths[-1])
        self.head = nn.Linear(2 * widths[-1], classes)

    def encode(self, noisy: Tensor, steps: Tensor) -> list[Tensor]:
        """Activations of all levels for slices (batch, 1, size, size), finest first, each before it is halved."""
        embedding = self.time(steps)
        hidden = self.stem(noisy)
        levels: list[Tensor] = []
        for block in self.blocks:
            found = block(hidden, embedding)
            levels.append(found[0])
            hidden = found[-1]
        return levels

    def forward(self, noisy: Tensor, steps: Tensor) -> Tensor:
        """Logits (batch, classes) of slices (batch, 1, size, size)."""
        hidden = nn.functional.silu(self.norm(self.encode(noisy, steps)[-1]))
        pooled = torch.cat([hidden.mean(dim=(2, 3)), nn.functional.adaptive_max_pool2d(hidden, 1).flatten(1)], dim=1)
        return cast(Tensor, self.head(pooled))


def resnet18(widths: tuple[int, int, int, int], classes: int) -> ResNet:
    """MONAI's ResNet-18 for slices of 64 pixels or so: no stride in the stem, group normalisation.

    Args:
        widths: channels of ``layer1`` to ``layer4``.
        classes: number of logits.
    """
    from monai.networks.nets.resnet import ResNet, ResNetBlock  # loading MONAI takes seconds

    return ResNet(
        ResNetBlock,
        layers=[2, 2, 2, 2],
        block_inplanes=list(widths),
        spatial_dims=2,
        n_input_channels=1,
        conv1_t_size=3,
        conv1_t_stride=1,
        num_classes=classes,
        norm=("group", {"num_groups": 8}),
    )


def encode(network: ResNet, images: Tensor) -> list[Tensor]:
    """Activations of ``layer1`` to ``layer4`` for slices (batch, 1, size, size)."""
    hidden = network.maxpool(network.act(network.bn1(network.conv1(images))))
    levels: list[Tensor] = []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        hidden = layer(hidden)
        levels.append(hidden)
    return levels
