from __future__ import annotations

import torch

from wsseg.methods.shared.heat import calibrate, located, over_neighbours, to_probability


def test_probability_is_linear_through_the_threshold() -> None:
    found = to_probability(torch.tensor([-1.0, 0.0, 0.1, 0.2, 0.4, 9.0]), 0.2)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0, 1.0]))


def test_otsu_separates_two_levels_and_leaves_a_flat_map_empty() -> None:
    maps = torch.zeros(2, 1, 16, 16)
    maps[0, 0, 4:8, 4:8] = 1.0
    found = calibrate(maps, "otsu") > 0.5
    assert torch.equal(found[0, 0], maps[0, 0] > 0)
    assert not found[1].any()


def test_a_map_is_thresholded_or_speaks_for_a_region() -> None:
    images = 0.05 * torch.randn(6, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    images[2:4, :, 8:20, 8:20] -= 0.5
    slices, shown = torch.tensor([2, 3]), torch.ones(2, 1, dtype=torch.bool)
    maps = torch.zeros(2, 1, 24, 24)
    maps[:, :, 2:9, 2:9] = 1.0
    above, region = (located(images, slices, shown, maps, "otsu", regions) > 0.5 for regions in (False, True))
    assert above.shape == region.shape == (2, 1, 48, 48)
    assert above[0].sum() > 180, "the map is coarse"
    assert 120 < region[0].sum() < 180, "the region has the border of the image"


def test_neighbours_are_smoothed_over_where_the_class_is_shown() -> None:
    probabilities = torch.zeros(6, 1, 2, 2)
    probabilities[:3] = 0.8
    shown = torch.tensor([True, True, True, False, True, False])[:, None]
    found = over_neighbours(probabilities, shown, 1.0)
    assert not found[~shown[:, 0]].any()
    torch.testing.assert_close(found[0], torch.full((1, 2, 2), 0.8), atol=0.02, rtol=0)
    assert 0.02 < found[4, 0, 0, 0] < 0.5, "an empty slice between takes from its neighbours"
    torch.testing.assert_close(over_neighbours(probabilities, shown, 0.0), probabilities)
