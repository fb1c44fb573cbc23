from __future__ import annotations

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
from wsseg.methods.shared.presence import smooth_over_slices


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
@pytest.mark.parametrize("said", [[1, 1, 0, 0], [1, -1, 0, -1]])
def test_a_dark_finding_is_looked_for_in_the_negative(finding: float, dark: bool, said: list[int]) -> None:
    method, images = _ByBrightness(SMALL_CAM, 1), _slices(finding)
    prompt = Prompt(torch.tensor(said)[:, None])
    seen, estimated = method.in_known_contrast(images, prompt, chunk=4)
    assert torch.equal(seen, images) != dark
    assert (estimated > 0.5).flatten().tolist() == [True, True, False, False]


@pytest.mark.parametrize(("fits", "turned"), [(1.0, False), (0.3, False), (0.05, True), (1e-6, False)])
def test_where_nothing_is_said_only_an_odd_scan_is_looked_at_in_the_negative(fits: float, turned: bool) -> None:
    """And no scan of another kind altogether, of whose negative a model may well be surer."""
    method = _ByBrightness(SMALL_CAM, 1)
    seen, _ = method.in_known_contrast(_slices(-0.6), Prompt(fits=fits), chunk=4)
    assert torch.equal(seen, _slices(-0.6)) != turned
    assert method.predict(_slices(-0.6), Prompt(fits=fits), Pass(4)).negative == turned
    seen, _ = method.in_known_contrast(_slices(0.6), Prompt(fits=fits), chunk=4)
    assert torch.equal(seen, _slices(0.6))


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
        assert found > 0.7 * plain
        assert [result.negative for result in results] == [True, False]
        assert [NEGATIVE in result.remark for result in results] == [True, False]
