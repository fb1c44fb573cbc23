"""Choosing the next scan, on scans made up for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import MakePackage
from wsseg.data.phantom import make_phantom
from wsseg.images.volume import Volume
from wsseg.inference.active import (
    SLICES,
    ScanSummary,
    by_both,
    by_doubt,
    by_novelty,
    by_poor_mask,
    choose,
    disagreement,
    uncertainty,
    worth_labelling,
)
from wsseg.inference.segmenter import Segmenter


def summary(
    presence: list[float], features: tuple[float, ...] = (0.0, 0.0), areas: list[float] | None = None
) -> ScanSummary:
    return ScanSummary(np.array([presence]), np.array(features), None if areas is None else np.array([areas]))


def test_uncertainty_is_the_entropy_in_bits() -> None:
    found = uncertainty(summary([0.0, 0.5, 1.0, 0.25]))
    assert found == pytest.approx([0, 1, 0, 0.8113], abs=1e-4)
    two_classes = ScanSummary(np.array([[0.5, 0.5], [0.5, 0.0]]), np.zeros(1))
    assert uncertainty(two_classes) == pytest.approx([1, 0.5], abs=1e-4)


def test_disagreement_is_between_presence_and_mask() -> None:
    found = disagreement(summary([0.9, 0.9, 0.1, 0.1], areas=[0.095, 0.0, 0.0, 0.005]))
    assert found == pytest.approx([0.05, 0.9, 0.1, 0.4])
    with pytest.raises(ValueError, match="mask"):
        disagreement(summary([0.5]))


def test_worth_labelling_are_the_most_doubtful_slices_in_order() -> None:
    doubt = np.zeros(20)
    doubt[[17, 3, 9]] = [0.9, 0.8, 0.7]
    found = worth_labelling(doubt).tolist()
    assert found == [0, 3, 9, 17]
    assert len(found) == SLICES
    assert worth_labelling(np.ones(3)).tolist() == [0, 1, 2]


def test_doubt_is_judged_on_the_slices_that_would_be_labelled() -> None:
    """A long scan is not put back for its many easy slices, nor preferred for more doubt than is labelled at a time."""
    candidates = {
        "easy": summary([0.01] * SLICES),
        "long": summary([0.3] * SLICES + [0.01] * 40),
        "longest": summary([0.2] * 60),
        "short": summary([0.5] * SLICES),
    }
    assert choose(candidates, [], by_doubt(uncertainty), 4) == ["short", "long", "longest", "easy"]


def test_novelty_covers_like_k_center() -> None:
    at = {"a": (0.0, 0.0), "b": (0.1, 0.0), "c": (5.0, 0.0), "d": (5.1, 0.2), "e": (0.0, 4.0)}
    candidates = {name: summary([0.5], place) for name, place in at.items()}
    labelled = [candidates.pop("a")]
    first, second = choose(candidates, labelled, by_novelty, 2)
    assert {first, second} == {"d", "e"}
    assert choose(candidates, labelled, by_novelty, 9)[-1] == "b"


def test_novelty_does_not_depend_on_the_features_units() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(6, 3))
    near, far = ([summary([0.5], tuple(p * unit)) for p in places] for unit in (np.ones(3), np.array([1, 1e4, 1e-2])))
    assert np.allclose(by_novelty(near[:4], near[4:]), by_novelty(far[:4], far[4:]), rtol=1e-3)


def test_both_prefers_doubt_that_is_not_labelled_yet() -> None:
    labelled = [summary([0.5], (1.0, 1.0))]
    twin, other, sure = summary([0.5], (1.0, 1.0)), summary([0.3], (4.0, 1.0)), summary([0.0], (9.0, 9.0))
    assert choose({"twin": twin, "other": other, "sure": sure}, labelled, by_both(uncertainty), 1) == ["other"]


def test_choice_is_deterministic_and_ends_with_the_scans() -> None:
    candidates = {name: summary([0.5]) for name in "cab"}
    assert choose(candidates, [], by_both(uncertainty), 9) == ["a", "b", "c"]
    assert choose({}, [], by_novelty, 3) == []


@pytest.mark.parametrize("method", ["cam", "cldf"])
@pytest.mark.parametrize("upside_down", [False, True])
def test_look_says_what_the_segmentation_says(make_package: MakePackage, method: str, upside_down: bool) -> None:
    scan, _ = make_phantom(0, size=64)
    if upside_down:
        scan = Volume(scan.voxels, scan.affine @ np.diag([1, 1, -1, 1]))
    segmenter = Segmenter(make_package(method).folder, "cpu")
    quick, thorough = segmenter.summarize(scan), segmenter.summarize(scan, mask=True)
    assert np.allclose(quick.presence, segmenter(scan).presence, atol=1e-5)
    assert np.array_equal(thorough.presence, quick.presence)
    assert quick.areas is None
    assert thorough.areas is not None
    assert thorough.areas.shape == quick.presence.shape
    assert np.array_equal(thorough.features, quick.features)


def test_of_contradictory_masks_the_one_of_least_certainty_comes_first() -> None:
    torn = summary([0.9, 0.1], areas=[0.0, 0.5])
    scans = {name: replace(torn, certainty=value) for name, value in (("a", 0.9), ("b", 0.3), ("c", 0.6))}
    assert choose(scans, [], by_poor_mask(disagreement), 3) == ["b", "c", "a"]
