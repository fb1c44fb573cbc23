"""Labels that are not trained on choose the best weights and keep a worse model from being published."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import SMALL_CAM, SMALL_PCLMIX, small_package
from wsseg.data.kinds.registry import PRESENCE, SCRIBBLES
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, held_back_cases, load_slices
from wsseg.labels.space import LabelSpace
from wsseg.methods.cam import CAM
from wsseg.methods.pclmix import PCLMix
from wsseg.methods.union import Union, UnionSettings
from wsseg.models.package import CURRENT, ModelPackage
from wsseg.training.checkpoint import CHECKPOINT, Checkpoint
from wsseg.training.loop import train
from wsseg.training.progress import TrainingProgress
from wsseg.training.run import train_package
from wsseg.training.settings import TrainSettings

TUMOR = LabelSpace(("tumor",))


@pytest.fixture(scope="module")
def slices(phantom_data: Path) -> LabelledSlices:
    return load_slices(phantom_data, TUMOR, View(32), (PRESENCE,))


def test_the_same_patients_are_held_back_whole() -> None:
    cases = [f"patient{p:03d}_frame{f:02d}" for p in range(50) for f in (1, 12)]
    held = held_back_cases(cases, 0.2)
    assert 0 < len(held) < 40
    assert held == held_back_cases(cases[::-1], 0.2)
    for count in range(0, 100, 10):  # a scan never changes sides as more are labelled
        assert held_back_cases(cases[:count], 0.2) == held & set(cases[:count])
    assert all({f"{case[:10]}_frame01", f"{case[:10]}_frame12"} <= held for case in held)


def test_only_some_scans(slices: LabelledSlices) -> None:
    part = slices.only({"phantom_001", "phantom_003"})
    assert part.cases == ("phantom_001", "phantom_003")
    assert part.case.tolist() == [0] * 8 + [1] * 8
    assert torch.equal(part.images[8:], slices.images[24:])
    assert torch.equal(part.targets.presence[:8], slices.targets.presence[8:16])


def test_score_is_the_area_under_the_curve_of_presence(slices: LabelledSlices, monkeypatch: pytest.MonkeyPatch) -> None:
    method = CAM(SMALL_CAM, 1)
    shown = iter(slices.targets.presence[slices.case == case].float() for case in range(4))
    monkeypatch.setattr(CAM, "presence_probability", lambda self, images, chunk: next(shown))
    assert method.score(slices, 8) == 1.0
    monkeypatch.setattr(CAM, "presence_probability", lambda self, images, chunk: torch.rand(len(images), 1))
    everywhere = replace(slices.targets, presence=torch.ones_like(slices.targets.presence))
    assert math.isnan(method.score(replace(slices, targets=everywhere), 8))


def test_a_stage_that_decides_no_mask_is_not_scored(slices: LabelledSlices, tmp_path: Path) -> None:
    settings = UnionSettings(widths=(16, 24), neighbours=0, crop=32, seeded=True, batch=4)
    train(Union(settings, 1), slices, TrainSettings(folder=tmp_path, steps=4), held=slices.only({"phantom_001"}))
    saved = Checkpoint.read(tmp_path / CHECKPOINT)
    assert saved
    assert [step for step, _ in saved.scores] == [5, 6, 7, 8], "the evidence has four steps, then the network its own"


def test_the_best_average_is_kept(slices: LabelledSlices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five scores the third is the highest: its weights and running statistics come out; viewers get all five."""
    scores, seen = iter([0.5, 0.6, 0.9, 0.8, 0.7]), []

    def score(method: PCLMix, held: LabelledSlices) -> float:
        seen.append({name: tensor.clone() for name, tensor in method.network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr("wsseg.training.loop.held_back_score", score)
    drawn = torch.zeros_like(slices.targets.pixels)
    drawn[:, 10:20, 10], drawn[:, 0] = 1, 255
    scribbled = replace(slices.with_pixels(drawn), kinds=(SCRIBBLES,))
    method = PCLMix(SMALL_PCLMIX, 1)
    told: list[TrainingProgress] = []
    settings = TrainSettings(folder=tmp_path, steps=10)
    train(method, scribbled, settings, told.append, held=scribbled.only({"phantom_000"}))
    found = method.network.state_dict()
    assert any("running_mean" in name for name in found)
    assert all(torch.equal(found[name], tensor) for name, tensor in seen[2].items())
    assert any(not torch.equal(seen[2][name], seen[4][name]) for name in found if "running_mean" in name)
    saved = Checkpoint.read(tmp_path / CHECKPOINT)
    assert saved.scores == [(2, 0.5), (4, 0.6), (6, 0.9), (8, 0.8), (10, 0.7)]
    assert told[-1].scores == tuple(saved.scores[:-1])
    assert told[-1].curve[-1][0] == 10


def _package(tmp_path: Path) -> ModelPackage:
    return small_package(tmp_path / "held", "cam")


@pytest.mark.parametrize(("before", "after", "published"), [(0.9, 0.8, False), (0.8, 0.8, True), (0.5, 0.8, True)])
def test_a_worse_model_is_kept_but_not_published(
    phantom_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: float,
    after: float,
    published: bool,
) -> None:
    scores = iter([before, after])
    monkeypatch.setattr("wsseg.training.run.held_back_score", lambda method, held: next(scores))
    settings = TrainSettings(folder=tmp_path / "run", steps=2, held_back=0.25)
    found = train_package(_package(tmp_path), phantom_data, tmp_path / "models", settings)
    assert found.published is published
    assert (found.before, found.score) == (before, after)
    assert found.package.trained
    assert (tmp_path / "models" / "held" / CURRENT).exists() is published
    assert ("worse" in found.message) is not published
    assert found.package.recipe.training.score == after
    assert found.package.recipe.training.scans == 3


@pytest.mark.parametrize(
    ("part", "told"), [(0.0, "no labels were held back"), (0.001, "too few labels were held back")]
)
def test_a_model_that_cannot_be_compared_says_why(phantom_data: Path, tmp_path: Path, part: float, told: str) -> None:
    settings = TrainSettings(folder=tmp_path / "run", steps=2, held_back=part)
    found = train_package(_package(tmp_path), phantom_data, tmp_path / "models", settings)
    assert found.published
    assert found.score is None
    assert told in found.message
