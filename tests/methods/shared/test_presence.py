from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import SMALL_CAM
from wsseg.evaluation.cases import load_cases
from wsseg.evaluation.metrics import score_slices
from wsseg.inference.result import NEGATIVE
from wsseg.inference.segmenter import Segmenter
from wsseg.methods.cam import CAM
from wsseg.methods.prompt import Pass, Prompt
from wsseg.methods.shared.presence import CLEARLY, ODD, smooth_over_slices


def test_neighbours_outvote_a_single_slice() -> None:
    logits = torch.tensor([[2.0], [2.0], [-1.0], [2.0], [2.0]])
    assert (smooth_over_slices(logits) > 0).all()
    assert smooth_over_slices(torch.ones(1, 2)).tolist() == [[1.0, 1.0]]


def test_given_presence_wins_where_known() -> None:
    probability = torch.tensor([[0.9], [0.9], [0.9]])
    decided = Prompt(torch.tensor([[1], [0], [-1]])).decide(probability)
    torch.testing.assert_close(decided, torch.tensor([[1.0], [0.0], [0.9]]))


class _ByBrightness(CAM):
    """Knows findings as bright ones, and rather takes a slice without any for one that shows nothing."""

    def presence_probability(self, images: torch.Tensor, chunk: int) -> torch.Tensor:
        return torch.where(images.amax(dim=(1, 2, 3)) > 0.2, 0.95, 0.4)[:, None]


def _slices(finding: float) -> torch.Tensor:
    images = torch.full((4, 1, 32, 32), -0.2)
    images[:, :, :4] = -1  # air
    images[:2, :, 10:16, 10:16] = finding
    return images


@pytest.mark.parametrize(("finding", "dark"), [(0.6, False), (-0.6, True)])
@pytest.mark.parametrize("fits", [0.1, 1e-6])
def test_a_dark_finding_is_looked_for_in_the_negative(finding: float, dark: bool, fits: float) -> None:
    """However odd the scan is, as all slices are told."""
    method, images = _ByBrightness(SMALL_CAM, 1), _slices(finding)
    seen = method.in_known_contrast(images, Prompt(torch.tensor([[1], [1], [0], [0]]), fits=fits), chunk=4)
    assert torch.equal(seen.images, images) != dark
    assert (seen.presence > 0.5).flatten().tolist() == [True, True, False, False]


LITTLE = ([-1, -1, -1, -1], [-1, -1, 0, -1], [0, -1, -1, -1], [1, 1, 1, 1], [0, 0, 0, 0])


@pytest.mark.parametrize(
    ("fits", "turned"), [(1.0, False), (ODD[1], False), (0.19, True), (ODD[0], True), (9e-4, False)]
)
@pytest.mark.parametrize("presence", [None, *(torch.tensor(states)[:, None] for states in LITTLE)])
def test_where_little_is_said_only_an_odd_scan_is_looked_at_in_the_negative(
    presence: torch.Tensor | None, fits: float, turned: bool
) -> None:
    """Not one of another kind altogether; and a slice that is denied in error never turns a scan."""
    method, dark, bright = _ByBrightness(SMALL_CAM, 1), _slices(-0.6), _slices(0.6)
    prompt = Prompt(presence, fits=fits)
    seen = method.in_known_contrast(dark, prompt, chunk=4)
    assert torch.equal(seen.images, dark) != turned
    assert method.predict(dark, prompt, Pass(4)).negative == seen.negative == turned
    assert not method.in_known_contrast(bright, prompt, chunk=4).negative


def test_a_scan_that_fits_is_never_turned_by_words_that_contradict_it() -> None:
    method, wrong = _ByBrightness(SMALL_CAM, 1), torch.tensor([[0], [0], [1], [1]])
    assert not method.in_known_contrast(_slices(0.6), Prompt(wrong, fits=0.5), chunk=4).negative


@pytest.mark.parametrize(("more", "turned"), [(CLEARLY * 0.9, False), (CLEARLY * 1.1, True)])
def test_a_negative_has_to_be_clearly_likelier(more: float, turned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    method = CAM(SMALL_CAM, 1)
    said = iter([torch.full((4, 1), 0.6), torch.full((4, 1), 0.6 * math.exp(more))])
    monkeypatch.setattr(method, "presence_probability", lambda images, chunk: next(said))
    assert method.in_known_contrast(_slices(0.6), Prompt(fits=0.1), chunk=4).negative == turned


@pytest.mark.long
def test_a_glioma_is_found_in_a_scan_turned_dark(shared: Path) -> None:
    """As the shipped figures are of FLAIR alone: tissue inverted and air black, presence given and not."""
    segmenter = Segmenter("cldf-glioma-flair", "cpu")
    case = next(case for case in load_cases(shared / "lgg" / "val", segmenter.package.labels) if "7690" in case.name)
    level = case.scan.voxels / np.quantile(case.scan.voxels, 0.999)
    dark = case.scan.like(np.where(level > 0.1, 1.1 - level.clip(0, 1), 0).astype(np.float32))
    for given in (case.presence, None):
        results = [segmenter(scan, given) for scan in (dark, case.scan)]
        found, plain = (np.mean([score.dice for score in score_slices(case, result, 0)]) for result in results)
        assert plain > 0.5
        assert found > 0.65 * plain
        assert [result.negative for result in results] == [True, False]
        assert [NEGATIVE in result.remark for result in results] == [True, False]
        assert [bool(result.predicted_dice) for result in results] == [False, True], "calibrated on plain scans"
