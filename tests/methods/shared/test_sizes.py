from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from wsseg.data.kinds.placed import band_of
from wsseg.data.targets import Targets
from wsseg.methods.shared.sizes import FARTHEST, FILLED, ThresholdFit, area_bounds


def _boxed(classes: int = 1) -> Targets:
    """Two slices; on the first, a box of 22 x 34 pixels around the first class."""
    boxes = torch.zeros(2, classes, 64, 64, dtype=torch.uint8)
    boxes[0, 0, 10:32, 5:39] = torch.from_numpy(band_of(22)[:, None] * 16 + band_of(34)[None])
    return replace(Targets.unknown(2, classes, (64, 64)), boxes=boxes)


def test_boxes_tell_of_an_ellipse_without_their_rim() -> None:
    body = math.pi / 4 * 20 * 32 * 0.9
    least, most = area_bounds(_boxed())[:, 0, 0].tolist()
    assert least == pytest.approx(FILLED[0] * body, rel=0.05)
    assert most == pytest.approx(FILLED[1] * body, rel=0.05)
    assert not area_bounds(_boxed())[:, 1].any()


def test_corrected_slices_tell_nothing() -> None:
    assert not area_bounds(replace(_boxed(), corrected=torch.tensor([True, True]))).any()


def _shifts(least: float, most: float, *levels: torch.Tensor) -> list[float]:
    """For a class of which so much is told on the first slice, and nothing on the second, where it is everywhere."""
    sizes = ThresholdFit(torch.ones(1, dtype=torch.bool))
    for level in levels:
        told = torch.zeros(2, 2, 1)
        told[0, 0, 0], told[1, 0, 0] = least, most
        sizes.add(torch.stack([level, torch.full_like(level, 9.0)]).sigmoid()[:, None], told)
    return sizes.shifts()


def test_masks_become_as_large_as_is_told_and_no_larger() -> None:
    """Logits from -3 to 3, evenly: half of 6000 pixels are marked."""
    level = torch.linspace(-3, 3, 6000).view(60, 100)
    assert _shifts(2000, 4000, level) == [0.0]
    (lower,), (higher,) = _shifts(500, 2000, level), _shifts(4000, 6000, level)
    assert lower == pytest.approx(-1.0, abs=0.06)
    assert higher == pytest.approx(1.0, abs=0.06)
    assert int((level + lower > 0).sum()) <= 2000
    assert int((level + higher > 0).sum()) >= 4000
    assert _shifts(500, 2000, level, level) == [lower], "of all slices together"


def test_no_mask_is_changed_far_or_without_a_word_of_its_size() -> None:
    level = torch.linspace(-3, 3, 6000).view(60, 100)
    assert _shifts(1, 2, level) == [-FARTHEST]
    assert _shifts(5999, 6000, level) == [FARTHEST]
    assert _shifts(0, 0, level) == [0.0]
    assert ThresholdFit(torch.ones(3, dtype=torch.bool)).shifts() == [0.0] * 3


def test_a_faint_plateau_is_not_raised_beyond_what_is_told() -> None:
    level = torch.full((60, 100), -0.5)
    level[:2] = 1.0
    (by,) = _shifts(1000, 2000, level)
    assert 0 <= by < 0.5, "all 6000 pixels would be marked"


def test_a_pixel_counts_for_the_class_that_is_likeliest_there() -> None:
    """Of two classes the first is likelier on the left half; each is told to be half of the slice."""
    maps = torch.full((1, 2, 60, 100), 0.7)
    maps[:, 0, :, :50] = maps[:, 1, :, 50:] = 0.8
    sizes = ThresholdFit(torch.ones(2, dtype=torch.bool))
    sizes.add(maps, torch.tensor([1500.0, 3000.0]).view(2, 1, 1).expand(2, 1, 2))
    assert sizes.shifts() == [0.0, 0.0]
