from __future__ import annotations

import pytest
import torch

from wsseg.networks.residual_unet import ResidualUNet


@pytest.mark.parametrize("size", [(32, 32), (50, 37)])
def test_any_size_comes_back_as_it_was(size: tuple[int, int]) -> None:
    network = ResidualUNet(3, 4, (16, 24, 32))
    assert network(torch.randn(2, 3, *size)).shape == (2, 4, *size)


def test_widths_that_normalisation_cannot_group_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        ResidualUNet(1, 2, (8, 20))
