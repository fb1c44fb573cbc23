from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from wsseg.images.pieces import extent, likely_pieces

WALL, CAVITY = 1, 2


def _heart() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A cavity in its wall, 3 slices, all probable; beside the body a larger blob that the model half believes in."""
    mask = np.zeros((3, 40, 40), np.uint8)
    mask[:, 4:16, 4:16] = WALL
    mask[:, 7:13, 7:13] = CAVITY
    probability = np.where([mask == WALL, mask == CAVITY], 0.95, 0.0).astype(np.float32).swapaxes(0, 1).copy()
    mask[:, 26:36, 20:30] = CAVITY
    probability[:, CAVITY - 1, 26:36, 20:30] = 0.51
    return mask, probability


def test_one_piece_of_each_class_stays() -> None:
    mask = np.zeros((4, 10, 10), np.uint8)
    mask[0, 0:2, 0:2] = 1
    mask[1:3, 5:9, 5:9] = 1
    mask[3, 0:3, 7:9] = 2
    kept = likely_pieces(mask, np.ones((4, 2, 10, 10), np.float32), {})
    assert kept[0, 0:2, 0:2].sum() == 0
    assert (kept == 1).sum() == 32
    assert (kept == 2).sum() == 6
    assert not likely_pieces(np.zeros_like(mask), np.ones((4, 2, 10, 10), np.float32), {2: 1}).any()


def test_a_probable_piece_stays_not_a_larger_one() -> None:
    mask, probability = _heart()
    mask[:, 26:36, 29] = 0  # still much the larger, 90 pixels to 36 a slice
    probability[:, CAVITY - 1, 26:36, 20:30] *= 0.7
    assert (likely_pieces(mask, probability, {})[:, 7:13, 7:13] == CAVITY).all()


def test_a_cavity_is_what_its_wall_surrounds() -> None:
    mask, probability = _heart()
    assert (likely_pieces(mask, probability, {})[:, 26:36, 20:30] == CAVITY).all(), "tells nothing"
    kept = likely_pieces(mask, probability, {CAVITY: WALL})
    assert (kept[:, 7:13, 7:13] == CAVITY).all()
    assert not kept[:, 26:36, 20:30].any()
    assert (kept == WALL).sum() == (mask == WALL).sum()


def test_walls_are_chosen_before_what_lies_in_them() -> None:
    """A large improbable wall around nothing does not draw the cavity to itself, whatever the classes' order."""
    mask, probability = _heart()
    swapped = np.select([mask == WALL, mask == CAVITY], [CAVITY, WALL]).astype(np.uint8)
    kept = likely_pieces(swapped, probability[:, ::-1], {WALL: CAVITY})
    assert (kept[:, 7:13, 7:13] == WALL).all()
    assert not kept[:, 26:36, 20:30].any()


def test_a_wall_is_what_surrounds_a_cavity() -> None:
    """Air beside the body, taken for a wall, is larger and as probable, and there is even some cavity in it."""
    mask, probability = _heart()
    mask[:, 20:38, 18:38], probability[:, WALL - 1, 20:38, 18:38] = WALL, 0.95
    mask[0, 26:29, 24:27], probability[0, :, 26:29, 24:27] = CAVITY, np.array([0.0, 0.9])[:, None, None]
    kept = likely_pieces(mask, probability, {CAVITY: WALL})
    assert not kept[:, 20:38, 18:38].any()
    assert (kept[:, 4:16, 4:16] == mask[:, 4:16, 4:16]).all()


@pytest.mark.parametrize("inside", [{}, {CAVITY: WALL}])
def test_where_nothing_is_surrounded_the_most_probable_piece_stays(inside: dict[int, int]) -> None:
    mask, probability = _heart()
    mask[mask == WALL] = 0
    assert (likely_pieces(mask, probability, inside)[:, 26:36, 20:30] == CAVITY).all()


def test_the_extent_of_a_mask_is_the_box_around_it_within_the_scan() -> None:
    mask = np.zeros((5, 20, 30), np.bool_)
    assert mask[extent(mask)].size == 0
    mask[2, 4:9, 0] = mask[3, 6, 10] = True
    assert extent(mask) == (slice(2, 4), slice(4, 9), slice(0, 11))
    assert extent(mask, room=2) == (slice(0, 5), slice(2, 11), slice(0, 13))


def test_of_an_empty_mask_nothing_is_kept() -> None:
    assert not likely_pieces(np.zeros((3, 9, 9), np.uint8), np.ones((3, 1, 9, 9), np.float32), {}).any()


def test_pieces_at_the_border_of_a_scan_are_kept_as_they_are() -> None:
    mask = np.zeros((3, 12, 12), np.uint8)
    mask[:, :3, :3], mask[:, 9:, 9:] = CAVITY, WALL
    assert np.array_equal(likely_pieces(mask, np.full((3, 2, 12, 12), 0.9, np.float32), {CAVITY: WALL}), mask)
