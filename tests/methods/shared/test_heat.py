from __future__ import annotations

import torch

from wsseg.methods.shared.heat import calibrate, evidence, mark_something, over_neighbours, to_probability


def test_probability_is_linear_through_the_threshold() -> None:
    found = to_probability(torch.tensor([-1.0, 0.0, 0.1, 0.2, 0.4, 9.0]), 0.2)
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.25, 0.5, 1.0, 1.0]))


def test_otsu_separates_two_levels_and_leaves_a_flat_map_empty() -> None:
    maps = torch.zeros(2, 1, 16, 16)
    maps[0, 0, 4:8, 4:8] = 1.0
    found = calibrate(maps, "otsu") > 0.5
    assert torch.equal(found[0, 0], maps[0, 0] > 0)
    assert not found[1].any()


def test_evidence_is_positive_and_above_the_tissues_median() -> None:
    """Median tissue is 0.4 of the range, which is -0.2 of [-1, 1]."""
    maps = torch.tensor([[[[-1.0, 2.0, 2.0, 2.0]]]])
    images = torch.tensor([[[[1.0, -1.0, -0.2, 0.8]]]])
    torch.testing.assert_close(evidence(maps, images, False, 2.5), torch.tensor([[[[0.0, 2.0, 2.0, 2.0]]]]))
    torch.testing.assert_close(evidence(maps, images, True, 2.5), torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]]))
    of_another_scale = evidence(maps, images, True, 5.0)  # the median is 0.2 there
    torch.testing.assert_close(of_another_scale, torch.tensor([[[[0.0, 0.0, 0.4, 1.4]]]]))


def test_neighbours_are_smoothed_over_where_the_class_is_shown() -> None:
    probabilities = torch.zeros(6, 1, 2, 2)
    probabilities[:3] = 0.8
    shown = torch.tensor([True, True, True, False, True, False])[:, None]
    found = over_neighbours(probabilities, shown, 1.0)
    assert not found[~shown[:, 0]].any()
    torch.testing.assert_close(found[0], torch.full((1, 2, 2), 0.8), atol=0.02, rtol=0)
    assert 0.02 < found[4, 0, 0, 0] < 0.5, "an empty slice between takes from its neighbours"
    torch.testing.assert_close(over_neighbours(probabilities, shown, 0.0), probabilities)


def test_a_slice_known_to_show_a_class_is_never_left_empty() -> None:
    probabilities = torch.full((3, 1, 8, 8), 0.01)
    probabilities[:2, 0, 2:4, 2:4], probabilities[2, 0, 2:4, 2:4] = 0.3, 0.9
    found = mark_something(probabilities, torch.tensor([[True], [False], [True]]))
    assert int((found[0] > 0.5).sum()) == 4
    assert torch.equal(found[1:], probabilities[1:])
