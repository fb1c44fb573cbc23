"""The one training loop: it learns, resumes after kill -9, and is the same in two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from conftest import SMALL_CDM, SMALL_CLDF, MakePackage, small_package
from wsseg.data.kinds import PRESENCE
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices
from wsseg.errors import WssegError
from wsseg.labels.space import LabelSpace
from wsseg.methods.cdm import CDM
from wsseg.methods.cldf import CLDF
from wsseg.models.package import CARD, METADATA, WEIGHTS, ModelPackage, Parent, read_package
from wsseg.models.record import FrozenPart
from wsseg.training.loop import CHECKPOINT, LABELS, Stats, TrainSettings, train
from wsseg.training.run import train_package

TUMOR = LabelSpace(("tumor",))


@pytest.fixture(scope="module")
def slices(phantom_data: Path) -> LabelledSlices:
    return load_slices(phantom_data, TUMOR, View(32), (PRESENCE,))


def _method() -> CDM:
    torch.manual_seed(0)
    return CDM(SMALL_CDM, 1)


def test_losses_fall(slices: LabelledSlices, tmp_path: Path) -> None:
    seen: list[Stats] = []
    train(_method(), slices, TrainSettings(folder=tmp_path, steps=160), seen.append)
    for stage, name, part in (("classifier", "presence", 0.9), ("diffusion", "velocity", 0.6)):
        losses = [s.losses[name] for s in seen if s.stage == stage and s.losses]
        assert sum(losses[-3:]) / 3 < part * losses[0], (stage, losses)


def test_progress_file_reads_as_viewers_expect(slices: LabelledSlices, tmp_path: Path) -> None:
    train(_method(), slices, TrainSettings(folder=tmp_path, steps=3))
    stats = json.loads((tmp_path / "train_stats.json").read_text())
    assert stats["epoch"] == stats["total_epochs"] == 6
    assert stats["total_time"] == "0:00:00" or stats["total_time"] > "0:00:00"
    assert "best_metric" not in stats
    assert list((tmp_path / "curves").rglob("events.out.tfevents*"))


@pytest.mark.parametrize("stop_at", [20, 60])
def test_resumed_run_ends_where_an_uninterrupted_one_does(slices: LabelledSlices, tmp_path: Path, stop_at: int) -> None:
    """Stopped in the middle of the first stage (20 of 40 steps) and of the second (60 of 80)."""
    whole, cut, resumed = _method(), _method(), _method()
    train(whole, slices, TrainSettings(folder=tmp_path / "whole", steps=40, mixed=False))
    settings = TrainSettings(folder=tmp_path / "cut", steps=40, save_every=0, mixed=False)

    def stop(stats: Stats) -> None:
        if stats.epoch == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, slices, settings, stop)
    saved = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)
    assert (saved["stage"], saved["step"]) == (stop_at // 40, stop_at % 40 - 1)
    train(resumed, slices, settings)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, atol=1e-6, rtol=1e-5, msg=name)


def test_a_run_is_not_resumed_under_other_terms(slices: LabelledSlices, tmp_path: Path) -> None:
    settings = TrainSettings(folder=tmp_path, steps=20, save_every=0)

    def stop(stats: Stats) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(_method(), slices, settings, stop)
    for changed in ({"seed": 7}, {"steps": 10}):
        with pytest.raises(WssegError, match="interrupted under other terms"):
            train(_method(), slices, replace(settings, **changed))


def _cldf() -> CLDF:
    torch.manual_seed(0)
    return CLDF(SMALL_CLDF, 1)


def test_a_resumed_stage_goes_on_with_the_labels_it_began_with(slices: LabelledSlices, tmp_path: Path) -> None:
    """A method that labels pixels by its own predictions would make others once it has trained on."""
    whole, cut, resumed = _cldf(), _cldf(), _cldf()
    train(whole, slices, TrainSettings(folder=tmp_path / "whole", steps=20, mixed=False))
    settings = TrainSettings(folder=tmp_path / "cut", steps=20, save_every=0, mixed=False)

    def stop(stats: Stats) -> None:
        if stats.epoch == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(cut, slices, settings, stop)
    began_with = load_file(tmp_path / "cut" / LABELS)["pixels"]
    assert set(began_with.unique().tolist()) <= {0, 1, 255}
    resumed.pixel_labels = lambda *given: pytest.fail("labels are made a second time")
    train(resumed, slices, settings)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], tensor, atol=1e-6, rtol=1e-5, msg=name)
    with pytest.raises(KeyboardInterrupt):
        train(_cldf(), slices, replace(settings, fresh=True), stop)
    (tmp_path / "cut" / LABELS).unlink()
    with pytest.raises(WssegError, match=r"labels.safetensors: is missing or damaged"):
        train(_cldf(), slices, settings)


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
    assert record.frozen["cam"] == FrozenPart(package="cam", version="0.1", part="classifier", sha256=cam.checksum())
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


@pytest.mark.long
def test_kill_9_and_resume_through_the_command_line(
    make_package: MakePackage, phantom_data: Path, tmp_path: Path
) -> None:
    package, models = make_package(), tmp_path / "models"
    command = [sys.executable, "-m", "wsseg.cli", "train", "small", "--data", str(phantom_data), "--out", str(models)]
    command += ["--steps", "60", "--save-every", "0"]
    environment = {**os.environ, "WSSEG_HOME": str(_home_with(package, tmp_path))}
    checkpoint = models / "small" / "run" / CHECKPOINT
    for _ in range(2):
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        before = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        _wait(lambda before=before: checkpoint.exists() and checkpoint.stat().st_mtime > before + 0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert torch.load(checkpoint, weights_only=True)["stage"] in (0, 1)
    finished = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")
    assert finished.returncode == 0, finished.stderr
    new = read_package(Path(finished.stdout.strip()))
    assert new.recipe.training.scans == 4
    assert not checkpoint.exists()
    assert not list(models.rglob(".*")), "something half-written is left"


@pytest.mark.long
def test_two_processes_train_the_model_of_one(phantom_data: Path, tmp_path: Path) -> None:
    """The README's torchrun line on 2 CPU processes against this one, which has the doubled batch, in float32.

    Compared over all weights together: a bias in front of a normalisation has no gradient but rounding, and Adam
    makes steps of that.
    """
    package = small_package(tmp_path / "small")
    settings = TrainSettings(folder=tmp_path / "run", steps=40, mixed=False)
    one = train_package(package, phantom_data, tmp_path / "one", settings).package.weights()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command += ["-m", "wsseg.cli", "train", f"{package.folder}", "--data", f"{phantom_data}"]
    command += ["--out", f"{tmp_path / 'two'}", "--steps", "40", "--no-mixed"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    version = (tmp_path / "two" / "small" / "CURRENT").read_text().strip()
    two = read_package(tmp_path / "two" / "small" / version).weights()
    moved, apart = _distance(one, package.weights()), _distance(one, two)
    print(f"moved by {moved:.3f}, {apart:.5f} apart")
    assert moved > 0.3
    assert apart < 0.01 * moved


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Euclidean, over all weights."""
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


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
    assert (models / "small" / "CURRENT").read_text().strip() == new.metadata.version
    assert json.loads((new.folder / METADATA).read_text())["wsseg"]["training"] == record.model_dump(mode="json")


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


def _home_with(package: ModelPackage, tmp_path: Path) -> Path:
    """A work directory in which the package is published under its name."""
    version = tmp_path / "work" / "models" / package.name / "0.1"
    version.parent.mkdir(parents=True)
    package.folder.rename(version)
    (version.parent / "CURRENT").write_text("0.1\n")
    return tmp_path / "work"


def _wait(condition: object, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
