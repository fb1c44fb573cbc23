from __future__ import annotations

import pytest
import torch

from wsseg.networks.residual_unet import ENDS, ResidualUNet


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


def test_what_another_network_learned_is_taken_over_but_for_ends_of_another_shape() -> None:
    learned, same, other = (ResidualUNet(seen, outputs, (16, 24)) for seen, outputs in ((6, 2), (6, 2), (12, 4)))
    same.begin_with(learned.state_dict())
    images = torch.randn(2, 6, 32, 32)
    torch.testing.assert_close(same(images), learned(images))
    before = {name: weight.clone() for name, weight in other.state_dict().items()}
    other.begin_with(learned.state_dict())
    for name, weight in other.state_dict().items():
        kept = before[name] if name.split(".")[0] in ENDS else learned.state_dict()[name]
        torch.testing.assert_close(weight, kept)


def test_a_network_of_other_widths_takes_nothing_over() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        ResidualUNet(6, 2, (16, 24)).begin_with(ResidualUNet(6, 2, (16, 32)).state_dict())
