"""What is said of slices, whatever the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import COLOUR, SMALL, MakePackage
from wsseg.images.volume import Volume
from wsseg.inference.presence import CLUE, SURE, presence_of, raise_shown, without_denied
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import NO, UNKNOWN, YES
from wsseg.methods.base import Prediction

SLICES = 7

Segment = Callable[..., NDArray[np.uint8]]


@pytest.fixture
def segment(make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> Segment:
    """Masks (slices, rows, columns) of two classes, of which a column of the first goes through all slices."""
    segmenter = Segmenter(make_package("union", labels=("organ", "other")).folder, "cpu")
    recipe = segmenter.package.recipe.model_copy(update={"largest_component": True})
    metadata = segmenter.package.metadata.model_copy(update={"wsseg": recipe})
    segmenter.package = replace(segmenter.package, metadata=metadata)
    side = recipe.size
    probabilities = torch.full((SLICES, 2, side, side), 0.002)
    probabilities[:, 0, 10:20, 10:20] = 0.9
    probabilities[:, 1, 10:20, 10:14] = 0.6
    probabilities[6, 0] *= 0.2
    found = Prediction(probabilities, torch.ones(SLICES, 2))
    monkeypatch.setattr(segmenter._method, "predict", lambda *given: found)
    rng = np.random.default_rng(0)
    scan = Volume(rng.uniform(100, 200, (side, side, SLICES)).astype(np.float32), np.diag([1.0, 1, 4, 1]))

    def run(presence: NDArray[np.int8], marked: bool) -> NDArray[np.uint8]:
        seen = segmenter.see(scan, None if marked else presence)
        return np.moveaxis(segmenter.decide(seen, marked=presence if marked else None).mask.voxels, 2, 0)

    return run


def test_a_piece_is_kept_on_a_slice_that_is_said_to_show_it(segment: Segment) -> None:
    """Though it hangs together with nothing."""
    found = segment(said(s5=NO, s6=YES), True) == 1
    assert found.any(axis=(1, 2)).tolist() == [True] * 5 + [False, True]


def test_pieces_that_were_dropped_do_not_speak_for_their_slices() -> None:
    maps = np.zeros((3, 2, 4, 4), np.float32)
    maps[:, 0, 1, 1], maps[0, 0, 3, 3], maps[:, 1, 2, 2] = 0.9, 0.3, 0.8
    marked = np.zeros((3, 4, 4), np.uint8)
    marked[:, 1, 1], marked[:, 2, 2] = 1, 2
    kept = marked.copy()
    kept[:2][kept[:2] == 1] = 0
    found = presence_of(np.full((3, 2), 0.85, np.float32), maps, marked, kept)
    assert found == pytest.approx(np.array([[0.3, 0.85], [0, 0.85], [0.85, 0.85]]))


def said(**states: int) -> NDArray[np.int8]:
    presence = np.full((2, SLICES), UNKNOWN, np.int8)
    for slice_, state in states.items():
        presence[0, int(slice_[1:])] = state
    return presence


@pytest.mark.parametrize("marked", [False, True])
def test_an_organ_that_is_denied_on_a_slice_in_its_midst_is_one_still(segment: Segment, marked: bool) -> None:
    before = (segment(said(), marked) == 1).sum(axis=(1, 2))
    found = (segment(said(s2=NO), marked) == 1).sum(axis=(1, 2))
    assert before[2] > 0
    assert found[2] == 0
    assert np.array_equal(np.delete(found, 2), np.delete(before, 2))


@pytest.mark.parametrize("marked", [False, True])
def test_what_comes_second_takes_the_place_of_a_class_that_is_denied(segment: Segment, marked: bool) -> None:
    mask = segment(said(s2=NO), marked)
    assert (mask[2] == 2).any()
    assert not (mask[[0, 1, 3, 4, 5]] == 2).any()


@pytest.mark.parametrize("marked", [False, True])
def test_a_class_is_marked_where_it_is_likeliest_on_a_slice_that_is_said_to_show_it(
    segment: Segment, marked: bool
) -> None:
    before, found = segment(said(), marked), segment(said(s6=YES), marked)
    assert not (before[6] == 1).any()
    assert np.array_equal(found[6] == 1, before[5] == 1)
    assert np.array_equal(found[:6], before[:6])


@pytest.mark.parametrize("method", sorted(SMALL.keys() - COLOUR))
def test_nothing_is_marked_where_a_class_is_said_to_be_absent(method: str, make_package: MakePackage) -> None:
    segmenter = Segmenter(make_package(method).folder, "cpu")
    scan = Volume(np.random.default_rng(0).uniform(100, 200, (32, 32, 6)).astype(np.float32), np.diag([1.0, 1, 4, 1]))
    states = np.array([[YES, NO, UNKNOWN, NO, YES, NO]], np.int8)
    mask = segmenter(scan, states).mask.voxels
    assert not mask[:, :, states[0] == NO].any()
    assert mask.any()


def test_the_order_of_pixels_stays_and_what_is_marked_is_left_alone() -> None:
    maps = np.random.default_rng(0).uniform(0, 0.3, (3, 1, 8, 8)).astype(np.float32)
    maps[1, 0, 4, 4] = 0.8
    maps[2] *= CLUE
    raised = raise_shown(maps, np.full((3, 1), YES, np.int8))
    assert raised[0].max() == pytest.approx(SURE)
    assert np.array_equal(np.argsort(raised[0].ravel()), np.argsort(maps[0].ravel()))
    assert np.array_equal(raised[1:], maps[1:])


def test_nothing_said_changes_nothing() -> None:
    maps = np.random.default_rng(0).uniform(0, 1, (3, 2, 8, 8)).astype(np.float32)
    mask = np.random.default_rng(1).integers(0, 3, (3, 8, 8)).astype(np.uint8)
    unknown = np.full((3, 2), UNKNOWN, np.int8)
    assert raise_shown(maps, unknown) is maps
    left, probabilities = without_denied(mask, maps, unknown)
    assert np.array_equal(left, mask)
    assert np.array_equal(probabilities, maps)
