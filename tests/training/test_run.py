"""The one training loop: it learns, resumes after kill -9, and is the same in two processes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import SMALL_CAM, SMALL_CDM, SMALL_CLDF, MakePackage, small_package
from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices
from wsseg.errors import WssegError
from wsseg.labels.space import LabelSpace
from wsseg.methods.base import Stage
from wsseg.methods.cam import CAM
from wsseg.methods.cdm import CDM
from wsseg.methods.cldf import CLDF
from wsseg.models.package import CARD, METADATA, WEIGHTS, Parent
from wsseg.models.record import TakenPart
from wsseg.training.checkpoint import CHECKPOINT, LABELS, Checkpoint
from wsseg.training.loop import learning_rate, train
from wsseg.training.progress import PausedError, Phase, TrainingProgress, Wish
from wsseg.training.run import train_package
from wsseg.training.settings import TrainSettings
from wsseg.training.state import NothingYetError

TUMOR = LabelSpace(("tumor",))


@pytest.fixture(scope="module")
def slices(phantom_data: Path) -> LabelledSlices:
    """As small as networks take them: most tests here are about steps, not about what is learned."""
    return load_slices(phantom_data, TUMOR, View(16), (PRESENCE,))


@pytest.fixture(scope="module")
def larger(phantom_data: Path) -> LabelledSlices:
    return load_slices(phantom_data, TUMOR, View(32), (PRESENCE,))


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow steps are, those of the curve alone are told."""
    monkeypatch.setattr("wsseg.training.state.REPORT_SECONDS", float("inf"))


def _method() -> CDM:
    torch.manual_seed(0)
    return CDM(SMALL_CDM, 1)


@pytest.mark.long
def test_losses_fall(larger: LabelledSlices, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    train(_method(), larger, TrainSettings(folder=tmp_path, steps=100), seen.append)
    for stage, name, part in (("classifier", "presence", 0.95), ("diffusion", "velocity", 0.75)):
        losses = [s.losses[name] for s in seen if s.stage == stage and s.losses]
        assert sum(losses[-3:]) / 3 < part * losses[0], (stage, losses)


def test_progress_is_told_to_the_end(slices: LabelledSlices, tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    train(_method(), slices, TrainSettings(folder=tmp_path, steps=3), told.append)
    assert [(each.phase, each.stage, each.step, each.steps) for each in told] == [
        (Phase.TRAINING, "classifier", 3, 6),
        (Phase.TRAINING, "diffusion", 6, 6),
    ]
    assert told[-1].seconds_left == 0 <= told[0].seconds_left
    assert [step for step, _ in told[-1].curve] == [3, 6]
    assert not told[-1].scores
    assert TrainingProgress.model_validate_json(told[-1].model_dump_json()) == told[-1]
    assert list((tmp_path / "curves").rglob("events.out.tfevents*"))


def test_progress_of_a_job_of_an_earlier_version_is_read() -> None:
    """Its fields were named ``state`` and ``total``; a server that read it as unfinished would start it again."""
    earlier = {"state": "done", "model": "liver", "parts": ["liver"], "step": 4, "total": 4, "message": "in use"}
    found = TrainingProgress.model_validate_json(json.dumps(earlier))
    assert (found.phase, found.steps, found.message) == (Phase.DONE, 4, "in use")
    assert found.phase.ended


@pytest.fixture(scope="module")
def uninterrupted(slices: LabelledSlices, tmp_path_factory: pytest.TempPathFactory) -> CDM:
    """Trained for 20 steps in each of its stages."""
    method = _method()
    train(method, slices, TrainSettings(folder=tmp_path_factory.mktemp("whole"), steps=20, mixed=False))
    return method


@pytest.mark.parametrize("stop_at", [10, 30])
def test_resumed_run_ends_where_an_uninterrupted_one_does(
    slices: LabelledSlices, uninterrupted: CDM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Stopped in the middle of the first stage (10 of 20 steps) and of the second (30 of 40)."""
    monkeypatch.setattr("wsseg.training.state.REPORT_EVERY", 10)
    cut, resumed = _method(), _method()
    settings = TrainSettings(folder=tmp_path / "cut", steps=20, save_every=0, mixed=False)

    def stop(progress: TrainingProgress) -> None:
        if progress.step == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, slices, settings, stop)
    saved = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)
    assert (saved["stage"], saved["step"]) == (stop_at // 20, stop_at % 20 - 1)
    train(resumed, slices, settings)
    for name, tensor in uninterrupted.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def test_a_run_is_not_resumed_under_other_terms(slices: LabelledSlices, tmp_path: Path) -> None:
    settings = TrainSettings(folder=tmp_path, steps=20, save_every=0)

    def stop(progress: TrainingProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(_method(), slices, settings, stop)
    with pytest.raises(WssegError, match=r"interrupted under other terms \(seed 0 then, 7 now\)"):
        train(_method(), slices, replace(settings, seed=7))


@pytest.mark.parametrize("paused", [7, 27])
def test_a_run_that_an_older_version_left_goes_on(slices: LabelledSlices, tmp_path: Path, paused: int) -> None:
    """It noted neither what size slices had nor what weights training began with, random ones, nor steps by stage."""
    settings = TrainSettings(folder=tmp_path, steps=20)
    with pytest.raises(PausedError):
        train(_method(), slices, settings, wish=_At(paused, Wish.PAUSE))
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    del state["plan"]["size"], state["plan"]["weights to begin with"]
    state["done"] = sum(state.pop("carried"))
    torch.save(state, tmp_path / CHECKPOINT)
    taken = {"network": TakenPart(package="start", version="1", part="network", sha256="0" * 64)}
    with pytest.raises(WssegError, match=r"weights to begin with \{\} then, \{'network': 'network of start"):
        train(_method(), slices, replace(settings, begun=taken))
    assert train(_method(), slices, settings).carried == (20, 20)


@pytest.mark.parametrize(("steps", "end", "rates"), [(10, 39, []), (50, 70, [step / 50 for step in range(19, 50)])])
def test_an_interrupted_run_goes_on_under_other_steps(
    slices: LabelledSlices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, end: int, rates: list[float]
) -> None:
    """What is behind stays behind; the lengths to come and the learning rate follow the new number."""
    settings = TrainSettings(folder=tmp_path, steps=20, save_every=0)

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(_method(), slices, settings, stop)
    parts: list[float] = []

    def rate(stage: Stage, step: int, done: float) -> float:
        parts.append(done)
        return learning_rate(stage, step, done)

    monkeypatch.setattr("wsseg.training.loop.learning_rate", rate)
    outcome = train(_method(), slices, replace(settings, steps=steps))
    assert sum(outcome.carried) == outcome.steps == end
    assert parts == rates


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    stage = Stage("any", torch.nn.Linear(1, 1), 1000, 1e-3, 4)
    rates = [learning_rate(stage, step, step / 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-5)
    assert max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[500] == pytest.approx(5e-4)
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] < 1e-8


class _At:
    """Wants something of a run after so many steps."""

    def __init__(self, step: int, wish: Wish) -> None:
        self._left, self._wish = step, wish

    def __call__(self) -> Wish:
        self._left -= 1
        return self._wish if self._left <= 0 else Wish.GO_ON


def test_a_run_that_is_finished_gives_the_average_so_far(
    slices: LabelledSlices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its last stage; started again after a kill, nothing is left to train."""
    monkeypatch.setattr("wsseg.training.state.FIRST_RESULT", 0.0)
    settings, method = TrainSettings(folder=tmp_path, steps=20, mixed=False), _method()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    outcome = train(method, slices, settings, wish=_At(25, Wish.FINISH))
    assert (outcome.carried, outcome.steps) == ((20, 5), 40)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    again = _method()
    assert train(again, slices, settings).carried == (20, 5)
    for name, tensor in method.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_what_is_held_back_is_asked_once_more_when_a_run_is_finished(
    slices: LabelledSlices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsseg.training.state.FIRST_RESULT", 0.0)
    scores = iter([0.5, 0.9, 0.7])
    monkeypatch.setattr("wsseg.training.loop.held_back_score", lambda method, held: next(scores))
    method, told = CAM(SMALL_CAM, 1), []
    settings = TrainSettings(folder=tmp_path, steps=20)
    train(method, slices, settings, told.append, held=slices.only({"phantom_000"}), wish=_At(10, Wish.FINISH))
    assert Checkpoint.read(tmp_path / CHECKPOINT).scores == [(4, 0.5), (8, 0.9), (10, 0.7)]
    assert Checkpoint.read(tmp_path / CHECKPOINT).best[0] == 0.9


@pytest.mark.parametrize(("first_result", "steps"), [(60.0, 25), (0.0, 5)])
def test_where_there_is_nothing_yet_that_is_said_and_nothing_is_lost(
    slices: LabelledSlices, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_result: float, steps: int
) -> None:
    """Within the first minute, and while a stage whose weights are still random has not begun."""
    monkeypatch.setattr("wsseg.training.state.FIRST_RESULT", first_result)
    settings = TrainSettings(folder=tmp_path, steps=20)
    with pytest.raises(NothingYetError, match="there is nothing to publish yet"):
        train(_method(), slices, settings, wish=_At(steps, Wish.FINISH))
    saved = Checkpoint.read(tmp_path / CHECKPOINT)
    assert sum(saved.carried) + saved.step == steps
    retrained = replace(settings, origin="0.1", fresh=True)
    if first_result == 0.0:  # a model that was trained before has weights for all stages
        assert train(_method(), slices, retrained, wish=_At(steps, Wish.FINISH)).carried == (steps, 0)


def test_a_run_that_pauses_loses_no_step(
    slices: LabelledSlices, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = TrainSettings(folder=tmp_path, steps=20)
    with pytest.raises(PausedError, match="paused after 7 of 40 steps"):
        train(_method(), slices, settings, wish=_At(7, Wish.PAUSE))
    assert Checkpoint.read(tmp_path / CHECKPOINT).step == 7
    with caplog.at_level("INFO", "wsseg"), pytest.raises(PausedError):
        train(_method(), slices, settings, wish=_At(1, Wish.PAUSE))
    assert "goes on where it was interrupted, after 7 steps" in caplog.text


def _cldf() -> CLDF:
    torch.manual_seed(0)
    return CLDF(SMALL_CLDF, 1)


@pytest.mark.long
def test_a_resumed_stage_goes_on_with_the_labels_it_began_with(larger: LabelledSlices, tmp_path: Path) -> None:
    """A method that labels pixels by its own predictions would make others once it has trained on."""
    whole, cut, resumed = _cldf(), _cldf(), _cldf()
    train(whole, larger, TrainSettings(folder=tmp_path / "whole", steps=20, mixed=False))
    settings = TrainSettings(folder=tmp_path / "cut", steps=20, save_every=0, mixed=False)

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, larger, settings, stop)
    began_with = load_file(tmp_path / "cut" / LABELS)["pixels"]
    assert set(began_with.unique().tolist()) <= {0, 1, 255}
    resumed.pixel_labels = lambda *given: pytest.fail("labels are made a second time")
    train(resumed, larger, settings)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    with pytest.raises(KeyboardInterrupt):
        train(_cldf(), larger, replace(settings, fresh=True), stop)
    (tmp_path / "cut" / LABELS).unlink()
    with pytest.raises(WssegError, match=r"labels.safetensors: is missing or damaged"):
        train(_cldf(), larger, settings)


def test_frozen_parts_come_from_their_packages(phantom_data: Path, tmp_path: Path) -> None:
    """They are copied, stay as they were through training, and the new package says where they came from."""
    cdm, cam = small_package(tmp_path / "a" / "cdm", "cdm"), small_package(tmp_path / "a" / "cam", "cam")
    child = small_package(tmp_path / "a" / "cldf", "cldf")
    parents = {
        "diffusion": Parent(package=f"{cdm.folder}", part="diffusion"),
        "classifier": Parent(package=f"{cdm.folder}", part="classifier"),
        "cam": Parent(package=f"{cam.folder}", part="classifier"),
    }
    child = replace(child, metadata=child.metadata.model_copy(deep=True))
    child.metadata.wsseg.parents = parents
    settings = TrainSettings(folder=tmp_path / "run", fresh=True, steps=2)
    trained = train_package(child, phantom_data, tmp_path / "models", settings, check=phantom_data).package
    weights, own = trained.weights(), cdm.weights()
    for name in own:
        assert torch.equal(weights[name], own[name]), name
    assert not any(name.startswith("cam.") for name in weights), "prediction does without it"
    record = trained.recipe.training
    assert record.frozen["cam"] == TakenPart(package="cam", version="0.1", part="classifier", sha256=cam.checksum())
    assert f"{record.frozen['diffusion']}" == f"diffusion of cdm 0.1, sha256 {cdm.checksum()}"
    assert set(record.pixel_labels) == {"tumor", "background"}
    assert not (tmp_path / "run" / LABELS).exists()
    again = train_package(trained, phantom_data, tmp_path / "models", replace(settings, fresh=False)).package
    assert again.recipe.training.origin == trained.metadata.version
    assert again.recipe.training.frozen["cam"] == record.frozen["cam"]
    assert torch.equal(again.weights()["diffusion.condition.weight"], own["diffusion.condition.weight"])
    save_file({name: tensor.half() + 0.01 for name, tensor in own.items()}, cdm.folder / WEIGHTS)  # trained anew
    third = train_package(again, phantom_data, tmp_path / "models", replace(settings, fresh=False)).package
    assert third.recipe.training.frozen["diffusion"].sha256 == cdm.checksum()
    assert torch.equal(third.weights()["diffusion.condition.weight"], cdm.weights()["diffusion.condition.weight"])
    child.metadata.wsseg.parents = {"diffusion": Parent(package=f"{cam.folder}", part="classifier")}
    with pytest.raises(WssegError, match=r"parents\.diffusion: the weights of .* do not fit"):
        train_package(child, phantom_data, tmp_path / "models", settings)


def test_trained_package_says_what_it_was_trained_on(
    make_package: MakePackage, phantom_data: Path, tmp_path: Path
) -> None:
    package, models = make_package(), tmp_path / "models"
    new = train_package(package, phantom_data, models, TrainSettings(folder=models / "run", steps=2)).package
    record = new.recipe.training
    assert (record.scans, record.origin, record.job) == (4, "0.1", "")
    assert record.labelled["presence"] > record.positive > 0
    assert f"- positive slices: {record.positive}" in (new.folder / CARD).read_text(encoding="utf-8")
    assert new.recipe.figures == []
    assert (models / "small" / "CURRENT").read_text("utf-8").strip() == new.metadata.version
    assert json.loads((new.folder / METADATA).read_text("utf-8"))["wsseg"]["training"] == record.model_dump(mode="json")


def test_a_checkpoint_that_does_not_fit_is_named(slices: LabelledSlices, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"PK not a checkpoint")
    with pytest.raises(WssegError, match="checkpoint is damaged"):
        train(_method(), slices, TrainSettings(folder=tmp_path, steps=1))
    train(_method(), slices, TrainSettings(folder=tmp_path, steps=1, fresh=True))
    wider = CDM(SMALL_CDM.model_copy(update={"widths": (32, 32, 64)}), 1)
    with pytest.raises(
        WssegError, match=r"under other terms \(settings.widths \[32, 32, 32\] then, \[32, 32, 64\] now"
    ):
        train(wider, slices, TrainSettings(folder=tmp_path, steps=1))
    with pytest.raises(WssegError, match="is of another network"):
        train(CDM(SMALL_CDM, 2), slices, TrainSettings(folder=tmp_path, steps=1))


def test_diverged_training_stops_with_a_sentence(slices: LabelledSlices, tmp_path: Path) -> None:
    method = _method()
    torch.nn.init.constant_(method.classifier.head.weight, float("nan"))
    with pytest.raises(WssegError, match="training diverged in stage classifier"):
        train(method, slices, TrainSettings(folder=tmp_path, steps=5))
