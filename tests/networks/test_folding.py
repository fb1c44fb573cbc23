from __future__ import annotations

import pytest
import torch
from torch import nn

from wsseg.networks.folding import fold
from wsseg.networks.residual_unet import ResidualUNet
from wsseg.networks.shared_unet import SharedUNet


@pytest.mark.parametrize("network", [SharedUNet((8, 8, 8, 8, 8), 2), ResidualUNet(1, 2, (8, 12, 16))])
@torch.no_grad()
def test_folded_networks_say_the_same_without_any_normalisation(network: nn.Module) -> None:
    torch.manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.weight, part.bias, part.running_mean):
                nn.init.normal_(values, 1.0)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    images = torch.randn(2, 1, 32, 32)
    before = network.eval()(images)
    fold(network)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    torch.testing.assert_close(network(images), before, rtol=1e-4, atol=1e-4)
