"""The classifier that class activation maps are taken from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from monai.networks.nets.resnet import ResNet


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
