from __future__ import annotations

import torch

from wsseg.losses.mix import AREA, Mix


def _uniform(count: int) -> torch.Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(0))


def test_every_pixel_comes_from_one_of_two_slices() -> None:
    uniform = _uniform(16)
    mix = Mix.draw(uniform, 40, 60)
    slices = torch.arange(16.0)[:, None, None].expand(16, 40, 60)
    mixed = mix(slices, slices)
    expected = torch.where(mix.takes_first, mix.first[:, None, None], mix.second[:, None, None])
    assert torch.equal(mixed, expected.float())
    assert sorted(mix.first.tolist()) == sorted(mix.second.tolist()) == list(range(16))


def test_one_rectangle_of_a_fifth_lies_inside_or_outside() -> None:
    mix = Mix.draw(_uniform(64), 100, 100)
    parts = mix.takes_first.flatten(1).float().mean(dim=1)
    inside = torch.where(parts > 0.5, 1 - parts, parts)
    assert torch.allclose(inside, torch.full_like(inside, AREA), atol=0.02)
    assert 0.2 < (parts > 0.5).float().mean() < 0.8
    for plane, part in zip(mix.takes_first, parts, strict=True):
        rectangle = ~plane if part > 0.5 else plane
        rows, columns = rectangle.any(dim=1), rectangle.any(dim=0)
        assert rectangle.sum() == rows.sum() * columns.sum()


def test_channels_are_mixed_alike() -> None:
    mix = Mix.draw(_uniform(4), 8, 8)
    image = torch.rand(4, 8, 8)
    assert torch.equal(
        mix(image[:, None].expand(4, 3, 8, 8), image[:, None].expand(4, 3, 8, 8))[:, 2], mix(image, image)
    )
