from __future__ import annotations

import pytest
import torch

from wsseg.networks.residual_unet import ResidualUNet


@pytest.mark.parametrize("size", [(32, 32), (50, 37)])
def test_any_size_comes_back_as_it_was(size: tuple[int, int]) -> None:
    network = ResidualUNet(3, 4, (16, 24, 32))
    assert network(torch.randn(2, 3, *size)).shape == (2, 4, *size)


def test_a_square_is_answered_as_the_slice_around_it_is() -> None:
    """Training sees squares, predicting whole slices."""
    torch.manual_seed(0)
    network = ResidualUNet(1, 2, (16, 24)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    square = torch.randn(1, 1, 64, 64)
    around = torch.zeros(1, 1, 128, 128)
    around[..., 32:96, 32:96] = square
    inner = slice(24, 40)
    whole = network(around)[..., 32:96, 32:96]
    torch.testing.assert_close(network(square)[..., inner, inner], whole[..., inner, inner], rtol=1e-4, atol=1e-4)
