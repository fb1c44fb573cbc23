"""Training as processes: killed and started again, and two that train as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from conftest import MakePackage, small_package
from wsseg.models.package import ModelPackage, read_package
from wsseg.training.checkpoint import CHECKPOINT
from wsseg.training.run import train_package
from wsseg.training.settings import TrainSettings


@pytest.mark.long
def test_kill_9_and_resume_through_the_command_line(
    make_package: MakePackage, phantom_data: Path, tmp_path: Path
) -> None:
    package, models = make_package(), tmp_path / "models"
    command = [sys.executable, "-m", "wsseg", "train", "small", "--data", str(phantom_data), "--out", str(models)]
    command += ["--steps", "20", "--save-every", "0"]
    environment = {**os.environ, "WSSEG_HOME": str(_home_with(package, tmp_path))}
    checkpoint = models / "small" / "run" / CHECKPOINT
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    _wait(checkpoint.exists)
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
    command += ["-m", "wsseg", "train", f"{package.folder}", "--data", f"{phantom_data}"]
    command += ["--out", f"{tmp_path / 'two'}", "--steps", "40", "--no-mixed"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    version = (tmp_path / "two" / "small" / "CURRENT").read_text("utf-8").strip()
    two = read_package(tmp_path / "two" / "small" / version).weights()
    moved, apart = _distance(one, package.weights()), _distance(one, two)
    print(f"moved by {moved:.3f}, {apart:.5f} apart")
    assert moved > 0.3
    assert apart < 0.01 * moved


def _distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Euclidean, over all weights."""
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def _home_with(package: ModelPackage, tmp_path: Path) -> Path:
    """A work directory in which the package is published under its name."""
    version = tmp_path / "work" / "models" / package.name / "0.1"
    version.parent.mkdir(parents=True)
    package.folder.rename(version)
    (version.parent / "CURRENT").write_text("0.1\n", encoding="utf-8")
    return tmp_path / "work"


def _wait(condition: object, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
