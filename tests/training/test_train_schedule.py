"""A training that is fitted to time, and one that is ended early."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import MakePackage
from wsseg.data.slices import LabelledSlices
from wsseg.data.targets import Targets
from wsseg.methods.union import Union, UnionSettings
from wsseg.training.loop import train
from wsseg.training.progress import PausedError, TrainingProgress, Wish
from wsseg.training.run import train_package
from wsseg.training.settings import TrainSettings

SMALL = UnionSettings(widths=(16, 24), neighbours=0, crop=16, batch=2, steps=10_000)


@pytest.fixture
def data() -> LabelledSlices:
    pixels = torch.full((6, 16, 16), 255, dtype=torch.uint8)
    pixels[:, 4:12, 4:12] = 1
    images = torch.where(pixels == 1, 0.8, -0.8)[:, None]
    targets = replace(Targets.unknown(6, 1, (16, 16)), pixels=pixels)
    return LabelledSlices(images, targets, False, ("a",), torch.zeros(6, dtype=torch.long))


def test_minutes_end_a_training(data: LabelledSlices, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    began = time.monotonic()
    train(Union(SMALL, 1), data, TrainSettings(folder=tmp_path, minutes=0.05), seen.append)
    assert 3 <= time.monotonic() - began < 15
    assert seen[-1].step == seen[-1].steps < 10_000


def test_a_training_whose_minutes_are_over_before_its_first_step_has_one_of_each_stage(
    data: LabelledSlices, tmp_path: Path
) -> None:
    """As on a slow machine: what ends is never what began, however little it has learned."""
    outcome = train(Union(SMALL, 1), data, TrainSettings(folder=tmp_path, minutes=1e-6))
    assert outcome.carried == (1,) * len(outcome.carried)


def test_timing_steps_takes_none_of_the_minutes(
    data: LabelledSlices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(step: Callable[[bool], None], mixed: bool) -> bool:
        time.sleep(1)
        return False

    monkeypatch.setattr("wsseg.training.loop.quickest", slow)
    outcome = train(Union(SMALL, 1), data, TrainSettings(folder=tmp_path, minutes=0.015))
    assert sum(outcome.carried) > 1, "0.9 seconds of steps, though a second went before them"


def test_a_training_that_is_told_to_finish_keeps_what_it_has_learned(
    data: LabelledSlices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsseg.training.state.FIRST_RESULT", 0.0)
    seen: list[TrainingProgress] = []
    method = Union(SMALL, 1)
    before = [weight.clone() for weight in method.parameters()]
    settings = TrainSettings(folder=tmp_path)
    train(method, data, settings, seen.append, wish=lambda: Wish.FINISH if seen else Wish.GO_ON)
    assert seen[-1].step < 100
    assert any(not torch.equal(old, new) for old, new in zip(before, method.parameters(), strict=True))


def test_a_training_pauses_before_its_first_step_too(
    data: LabelledSlices, make_package: MakePackage, phantom_data: Path, tmp_path: Path
) -> None:
    """People who press Ctrl-C do not wait until many scans are read, or many strokes are completed."""
    settings = TrainSettings(folder=tmp_path, steps=1)
    told: list[float] = []
    with pytest.raises(PausedError, match="paused while reading scans; started again, training goes on"):
        train_package(
            make_package(),
            phantom_data,
            tmp_path / "models",
            settings,
            lambda progress: told.append(progress.prepared),
            wish=lambda: Wish.PAUSE,
        )
    assert len(told) == 1
    with pytest.raises(PausedError, match="paused while making labels"):
        train(Union(SMALL, 1), data, settings, wish=lambda: Wish.PAUSE)


def test_a_training_by_minutes_records_the_steps_that_it_carried_out(
    make_package: MakePackage, phantom_data: Path, tmp_path: Path
) -> None:
    """And not those that its settings plan where no time is set."""
    told: list[TrainingProgress] = []
    settings = TrainSettings(folder=tmp_path / "run", minutes=0.05)
    new = train_package(make_package(), phantom_data, tmp_path / "models", settings, told.append).package
    steps = [record.steps for record in new.recipe.training.stages.values()]
    assert 0 < sum(steps) == max(progress.step for progress in told)
