from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wsseg.methods.shared.labelling.regions import by_regions, merge_classes, overlap, seeds_of_regions

PRESENCE = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0], dtype=torch.int8)[:, None]
FINDING = (slice(2, 5), slice(10, 22), slice(10, 22))
OTHER = (slice(2, 5), slice(30, 42), slice(30, 42))
VESSEL = (slice(0, 8), slice(30, 42), slice(8, 20))


def _scan(*regions: tuple[tuple[slice, ...], float]) -> Tensor:
    scan = 0.05 * torch.randn(8, 48, 48, generator=torch.Generator().manual_seed(0))
    for where, level in regions:
        scan[where] += level
    return scan[:, None]


_evidence = _scan


@pytest.mark.parametrize("level", [0.5, -0.5], ids=["bright", "dark"])
def test_the_region_on_the_named_slices_alone_is_the_finding_bright_or_dark(level: float) -> None:
    images = _scan((FINDING, level), (VESSEL, 3 * level))
    found = seeds_of_regions(images, PRESENCE, _evidence((FINDING, 1.0), (VESSEL, 1.0)))[:, 0]
    truth = torch.zeros(8, 48, 48, dtype=torch.bool)
    truth[FINDING] = True
    overlap = 2 * ((found == 1) & truth).sum() / ((found == 1).sum() + truth.sum())
    assert overlap > 0.8
    assert (found[2:5, 34:40, 10:18] == 255).all(), "what goes on over other slices is background"
    assert (found[2:5, 9, 10:22] != 255).all(), "of what lies at its border nothing is said"
    assert not found[:2].any()
    assert not found[5:].any()


def test_of_two_the_one_for_which_more_speaks() -> None:
    images = _scan((FINDING, 0.5), (OTHER, 0.5))
    for here in (FINDING, OTHER):
        found = seeds_of_regions(images, PRESENCE, _evidence((here, 1.0)))[:, 0]
        assert (found[here] == 1).float().mean() > 0.7


def test_brightness_and_evidence_have_no_unit() -> None:
    images, evidence = _scan((FINDING, 0.5)), _evidence((FINDING, 1.0))
    found = seeds_of_regions(images, PRESENCE, evidence)
    assert torch.equal(found, seeds_of_regions(0.5 * images, PRESENCE, 3 * evidence - 2))


def test_where_nothing_speaks_or_nothing_is_known_nothing_is_said() -> None:
    images = _scan((FINDING, 0.5))
    assert not seeds_of_regions(images, PRESENCE, torch.zeros(8, 1, 48, 48)).any()
    evidence = _evidence((FINDING, 1.0))
    assert not seeds_of_regions(images, torch.full((8, 1), -1), evidence).any()
    assert not seeds_of_regions(torch.full_like(images, -1), PRESENCE, evidence).any()
    assert not seeds_of_regions(torch.zeros(8, 1, 48, 48), PRESENCE, evidence).any()


def test_each_class_has_its_own_region() -> None:
    images = _scan((FINDING, 0.5), (OTHER, -0.5))
    presence = PRESENCE.expand(8, 2)
    evidence = torch.cat([_evidence((FINDING, 1.0)), _evidence((OTHER, 1.0))], dim=1)
    found = seeds_of_regions(images, presence, evidence)
    assert (found[:, 0][FINDING] == 1).float().mean() > 0.7
    assert (found[:, 1][OTHER] == 1).float().mean() > 0.7


def test_masks_are_regions_where_they_reach_and_what_else_is_known_elsewhere() -> None:
    presence = torch.where(PRESENCE == 0, -1, PRESENCE)
    otherwise = torch.full((8, 1, 48, 48), 0.2)
    found = by_regions(_scan((FINDING, 0.5)), presence, _evidence((FINDING, 1.0)), otherwise)
    assert (found[2:5, 0, 12:20, 12:20] > 0.9).all()
    assert (found[2:5, 0, 30:, 30:] < 0.01).all()
    assert torch.equal(found[5:], otherwise[5:])


def test_slices_that_it_does_not_reach_are_marked_where_it_was_on_the_nearest() -> None:
    presence = PRESENCE.clone()
    presence[5] = 1
    images = _scan((FINDING, 0.5))
    images[5, :, 14:20, 14:20] += 0.1
    found = by_regions(images, presence, _evidence((FINDING, 1.0)), torch.full((8, 1, 48, 48), 0.2))[5, 0] > 0.5
    assert 36 <= found.sum() <= 150
    assert found[14:20, 14:20].all()


@pytest.mark.parametrize(("side", "level"), [(2, 0.8), (3, 0.3)])
def test_where_a_few_pixels_of_it_are_left_it_has_faded(side: int, level: float) -> None:
    """They are no mask, and vanish when its border is softened, whereupon all that was thought otherwise came back."""
    presence = PRESENCE.clone()
    presence[5] = 1
    tip = (slice(5, 6), slice(15, 15 + side), slice(15, 15 + side))
    evidence, otherwise = _evidence((FINDING, 1.0), (tip, 1.0)), torch.full((8, 1, 48, 48), 0.9)
    found = by_regions(_scan((FINDING, 0.5), (tip, level)), presence, evidence, otherwise)[5, 0] > 0.5
    assert 16 <= found.sum() <= 150
    assert found[tip[1:]].all()


def test_what_lies_on_other_slices_crowds_nothing_out() -> None:
    lumps = [
        ((slice(6, 8), slice(row, row + 13), slice(column, column + 13)), 0.5)
        for row in (1, 17, 33)
        for column in (1, 17, 33)
    ]
    found = seeds_of_regions(_scan((FINDING, 0.5), *lumps), PRESENCE, _evidence((FINDING, 1.0)))[:, 0]
    assert (found[FINDING] == 1).float().mean() > 0.7


def test_evidence_is_compared_on_slices_that_show_the_class_alone() -> None:
    """Elsewhere a method has looked at nothing, which is no reason to believe in what goes on over there."""
    presence = torch.tensor([0, 0, 1, 1, 1, 1, 0, 0], dtype=torch.int8)[:, None]
    leaking = (slice(1, 6), slice(10, 22), slice(10, 22))
    evidence = torch.where(presence[:, :, None, None] == 1, torch.full((8, 1, 48, 48), -6.9), 0.0)
    assert not seeds_of_regions(_scan((leaking, 0.5)), presence, evidence).any()


def test_a_region_is_of_one_class_and_others_stay_as_they_were() -> None:
    images, presence = _scan((FINDING, 0.5)), PRESENCE.expand(8, 2)
    evidence = torch.cat([_evidence((FINDING, 1.0)), _evidence((FINDING, 0.5))], dim=1)
    otherwise = torch.full((8, 2, 48, 48), 0.2)
    found = by_regions(images, presence, evidence, otherwise)
    assert (found[2:5, 0, 12:20, 12:20] > 0.9).all()
    assert torch.equal(found[:, 1], otherwise[:, 1])


def test_large_slices_are_made_smaller_and_their_seeds_larger() -> None:
    images, evidence = (
        each.repeat_interleave(5, 2).repeat_interleave(5, 3)
        for each in (_scan((FINDING, 0.5)), _evidence((FINDING, 1.0)))
    )
    found = seeds_of_regions(images, PRESENCE, evidence)
    assert found.shape == images.shape
    assert (found[2:5, 0, 60:100, 60:100] == 1).float().mean() > 0.8


def test_classes_are_merged_by_what_is_known() -> None:
    per_class = torch.zeros(4, 2, 1, 4, dtype=torch.uint8)
    per_class[:, 0, 0] = torch.tensor([1, 1, 255, 255], dtype=torch.uint8)
    per_class[:, 1, 0] = torch.tensor([255, 1, 1, 255], dtype=torch.uint8)
    presence = torch.tensor([[1, 1], [1, 0], [1, -1], [0, 0]])
    found = merge_classes(per_class, presence)[:, 0]
    assert found[0].tolist() == [1, 0, 2, 255], "two claims leave a pixel unlabelled"
    assert found[1].tolist() == [1, 1, 255, 255], "a class known to be absent claims nothing"
    assert found[2].tolist() == [1, 1, 0, 0], "a class that may be there leaves no background"
    assert found[3].tolist() == [255] * 4


def test_overlap_is_the_dice_of_each_class() -> None:
    one, other = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    one[:, 0], other[0, 0], one[0, 1], other[1, 1] = 0.9, 0.6, 0.9, 0.9
    assert overlap(one, other).tolist() == pytest.approx([2 / 3, 0, 0])


def test_a_core_that_a_finding_encloses_is_part_of_it() -> None:
    core = (slice(2, 5), slice(14, 18), slice(14, 18))
    images = _scan((FINDING, 0.5), (core, -0.5))
    marked = by_regions(images, PRESENCE, _evidence((FINDING, 1.0)), torch.zeros(images.shape))[:, 0] > 0.5
    assert marked[core].all()
    assert not marked[5:].any()


def test_a_large_scan_is_looked_at_in_larger_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    images, evidence = _scan((FINDING, 0.5), (VESSEL, 1.5)), _evidence((FINDING, 1.0), (VESSEL, 1.0))
    fine = by_regions(images, PRESENCE, evidence, torch.zeros(images.shape)) > 0.5
    monkeypatch.setattr("wsseg.methods.shared.labelling.regions.MOST_VOXELS", images.numel() // 3)
    coarse = by_regions(images, PRESENCE, evidence, torch.zeros(images.shape)) > 0.5
    assert not torch.equal(fine, coarse)
    assert float(overlap(fine.float(), coarse.float())) > 0.8
