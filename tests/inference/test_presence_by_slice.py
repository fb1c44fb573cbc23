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
from wsseg.inference.presence import clear_denied, extend_shown, presence_of, without_denied
from wsseg.inference.result import Segmentation
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.space import BACKGROUND, NO, UNKNOWN, YES
from wsseg.methods.base import Prediction

SLICES, SIDE = 7, 32

Decide = Callable[..., Segmentation]


def column() -> torch.Tensor:
    """Probabilities of two classes: the first goes through all slices but is faint on the last, the second beneath."""
    found = torch.full((SLICES, 2, SIDE, SIDE), 0.002)
    found[:, 0, 10:20, 10:20] = 0.9
    found[:, 1, 10:20, 10:14] = 0.6
    found[6, 0] *= 0.2
    return found


@pytest.fixture
def decide(make_package: MakePackage, monkeypatch: pytest.MonkeyPatch) -> Decide:
    """What a model of classes in one piece each makes of what its network and people say."""
    segmenter = Segmenter(make_package("union", labels=("organ", "other")).folder, "cpu")
    recipe = segmenter.package.recipe.model_copy(update={"largest_component": True, "size": SIDE})
    metadata = segmenter.package.metadata.model_copy(update={"wsseg": recipe})
    segmenter.package = replace(segmenter.package, metadata=metadata)
    voxels = np.random.default_rng(0).uniform(100, 200, (SIDE, SIDE, SLICES)).astype(np.float32)
    scan = Volume(voxels, np.diag([1.0, 1, 4, 1]))

    def run(presence: NDArray[np.int8], marked: bool = True, probabilities: torch.Tensor | None = None) -> Segmentation:
        said = Prediction(column() if probabilities is None else probabilities, torch.ones(SLICES, 2))
        monkeypatch.setattr(segmenter._method, "predict", lambda *given: said)
        seen = segmenter.see(scan, None if marked else presence)
        return segmenter.decide(seen, marked=presence if marked else None)

    return run


def slices(result: Segmentation, value: int) -> list[bool]:
    """Which slices show a class in the mask."""
    shown: list[bool] = (result.mask.voxels == value).any(axis=(0, 1)).tolist()
    return shown


def test_a_piece_is_kept_on_a_slice_that_is_said_to_show_it(decide: Decide) -> None:
    """Though it hangs together with nothing."""
    assert slices(decide(said(s5=NO, s6=YES)), 1) == [True] * 5 + [False, True]


def test_a_wrong_piece_that_is_denied_does_not_win_the_choice(decide: Decide) -> None:
    """However large it was."""
    probabilities = torch.full((SLICES, 2, SIDE, SIDE), 0.002)
    probabilities[:4, 0, 2:12, 2:12], probabilities[5:, 0, 20:24, 20:24] = 0.9, 0.8
    wrong = decide(said(), probabilities=probabilities)
    assert slices(wrong, 1) == [True] * 4 + [False] * 3
    assert wrong.presence[0, 5:].tolist() == pytest.approx([0.002] * 2), "what was dropped does not speak"
    right = decide(said(s0=NO, s1=NO, s2=NO, s3=NO), probabilities=probabilities)
    assert slices(right, 1) == [False] * 5 + [True] * 2


def test_pieces_that_were_dropped_do_not_speak_for_their_slices() -> None:
    maps = np.zeros((3, 2, 4, 4), np.float32)
    maps[:, 0, 1, 1], maps[0, 0, 3, 3], maps[:, 1, 2, 2] = 0.9, 0.3, 0.8
    marked = np.zeros((3, 4, 4), np.uint8)
    marked[:, 1, 1], marked[:, 2, 2] = 1, 2
    kept = marked.copy()
    kept[:2][kept[:2] == 1] = 0
    found = presence_of(np.ones((3, 2), np.float32), maps, marked, kept)
    assert found == pytest.approx(np.array([[0.3, 1], [0, 1], [1, 1]]))


def said(**states: int) -> NDArray[np.int8]:
    presence = np.full((2, SLICES), UNKNOWN, np.int8)
    for slice_, state in states.items():
        presence[0, int(slice_[1:])] = state
    return presence


@pytest.mark.parametrize("marked", [False, True])
def test_an_organ_that_is_denied_on_a_slice_in_its_midst_is_one_still(decide: Decide, marked: bool) -> None:
    before, found = (decide(given, marked).mask.voxels for given in (said(), said(s2=NO)))
    assert (before[..., 2] == 1).any()
    assert not (found[..., 2] == 1).any()
    assert np.array_equal(np.delete(found == 1, 2, axis=2), np.delete(before == 1, 2, axis=2))


@pytest.mark.parametrize("marked", [False, True])
def test_a_class_is_marked_where_it_is_likeliest_on_a_slice_that_is_said_to_show_it(
    decide: Decide, marked: bool
) -> None:
    before, found = (decide(given, marked).mask.voxels for given in (said(), said(s6=YES)))
    assert not (before[..., 6] == 1).any()
    assert (found[..., 6] == 1).sum() > 10
    assert not (found[..., 6] == 1)[before[..., 5] != 1].any()
    assert np.array_equal(found[..., :6], before[..., :6])


@pytest.mark.parametrize("method", sorted(SMALL.keys() - COLOUR))
def test_nothing_is_marked_where_a_class_is_said_to_be_absent(method: str, make_package: MakePackage) -> None:
    segmenter = Segmenter(make_package(method).folder, "cpu")
    scan = Volume(np.random.default_rng(0).uniform(100, 200, (32, 32, 6)).astype(np.float32), np.diag([1.0, 1, 4, 1]))
    states = np.array([[YES, NO, UNKNOWN, NO, YES, NO]], np.int8)
    mask = segmenter(scan, states).mask.voxels
    assert not mask[:, :, states[0] == NO].any()
    assert mask.any() or method in ("cldf", "pclmix"), "whose random weights mark nothing"


def tall(depth: int = 5) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A mask with one class on its first slice, and probabilities that are faint beyond, likeliest far beside it."""
    mask, maps = np.zeros((depth, 12, 12), np.uint8), np.full((depth, 2, 12, 12), 0.001, np.float32)
    mask[0, 2:8, 2:8] = 1
    maps[:, 0, 4:6, 4:6], maps[1:, 0, 10:, 10:] = 0.2, 0.45
    return mask, maps


def test_a_mask_goes_on_where_the_next_slice_has_it_and_nowhere_else() -> None:
    mask, maps = tall()
    presence = np.full((5, 2), UNKNOWN, np.int8)
    presence[1:, 0] = YES
    found = extend_shown(mask, maps, presence)
    assert [int((plane == 1).sum()) for plane in found] == [36, 4, 4, 0, 0]
    assert not (found[1:, 10:, 10:] == 1).any()


def test_nothing_goes_on_without_a_clue_or_where_the_class_is_drawn() -> None:
    mask, maps = tall()
    presence = np.full((5, 2), UNKNOWN, np.int8)
    presence[1:, 0] = YES
    drawn = np.zeros(mask.shape, np.uint8)
    drawn[1, 9, 9], drawn[2, 4, 4:6] = 1, BACKGROUND
    found = extend_shown(mask, maps, presence, drawn)
    assert [int((plane == 1).sum()) for plane in found] == [36, 0, 2, 0, 0]
    assert np.array_equal(extend_shown(mask, maps * 0.1, presence), mask)


def test_nothing_said_changes_nothing() -> None:
    mask, maps = tall()
    unknown = np.full((5, 2), UNKNOWN, np.int8)
    assert without_denied(maps, unknown) is maps
    assert np.array_equal(clear_denied(mask, unknown), mask)
    assert np.array_equal(extend_shown(mask, maps, unknown), mask)
