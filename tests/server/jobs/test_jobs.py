"""One training job at a time: what is refused, what a kill leaves, and how it goes on."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import small_package
from trainers import new_job, small_home
from wsseg.errors import NotFoundError, WssegError
from wsseg.files import home
from wsseg.images.folder import scan_files
from wsseg.images.formats.table import write_mask
from wsseg.images.scan import read_scan
from wsseg.labels.tables import PRESENCE_FILE
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package, publish, versions
from wsseg.server.jobs.job import Trainer
from wsseg.server.jobs.job_folder import JobFolder, Plan
from wsseg.server.jobs.jobs import BusyError, Jobs
from wsseg.server.jobs.lock import TrainerLock
from wsseg.training.checkpoint import CHECKPOINT, Checkpoint
from wsseg.training.progress import Phase, TrainingProgress
from wsseg.training.state import NothingYetError

SECONDS = 480


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path) -> Iterator[None]:
    with small_home(tmp_path):
        yield


@pytest.fixture
def snapshot(phantom_data: Path) -> Callable[[Path, ModelPackage], int]:
    """Labels that suffice."""

    def copy(folder: Path, package: ModelPackage) -> int:
        shutil.copytree(phantom_data, folder, dirs_exist_ok=True)
        return 4

    return copy


@pytest.fixture
def jobs(snapshot: Callable[[Path, ModelPackage], int]) -> Iterator[Jobs]:
    jobs = Jobs(snapshot)
    yield jobs
    jobs.cancel()
    jobs.wait()


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def _saved(job: JobFolder) -> int:
    """The step at which its checkpoint goes on."""
    checkpoint = Checkpoint.read(job.run("tiny") / CHECKPOINT)
    assert checkpoint is not None
    step: int = checkpoint.step
    return step


def test_a_number_left_behind_is_not_taken_for_the_trainer(tmp_path: Path, jobs: Jobs) -> None:
    """The file of a killed trainer whose number an unrelated process bears now: here this one."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "LOCK").write_text(str(os.getpid()), encoding="utf-8")
    lock = TrainerLock(tmp_path / "jobs" / "LOCK")
    assert not lock.held()
    assert lock.pid() is None
    job = new_job()
    assert jobs.cancel().phase == "cancelled", "and this process still lives"
    assert jobs.newest().id == job.id
    jobs.resume()


def test_the_lock_lives_as_long_as_the_process_that_inherited_it(tmp_path: Path) -> None:
    lock = TrainerLock(tmp_path / "LOCK")
    held = lock.take()
    assert held is not None
    assert lock.take() is None
    with subprocess.Popen(["sleep", "60"], pass_fds=(held.fileno(),)) as process:
        lock.name(held, process.pid)
        held.close()
        assert lock.pid() == process.pid
        process.kill()
    assert lock.pid() is None
    again = lock.take()
    assert again is not None
    again.close()


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"steps": 0}, "steps: must be a whole number from 1"),
        ({"steps": "many"}, "steps: must be a whole number from 1"),
        ({"steps": True}, "steps: must be a whole number from 1"),
        ({"steps": 2.5}, "steps: must be a whole number from 1"),
        ({"steps": [1]}, "steps: must be a whole number from 1"),
        ({"parents": 3}, "parents: must be true or false"),
        ({"parents": [True]}, "parents: must be true or false"),
    ],
)
def test_wrong_fields_are_refused(jobs: Jobs, request_: dict, sentence: str) -> None:
    with pytest.raises(WssegError, match=sentence):
        jobs.start("tiny", request_)
    assert jobs.progress().phase == "idle"


def test_an_unknown_model_is_refused(jobs: Jobs) -> None:
    with pytest.raises(NotFoundError, match='"nothing" is unknown'):
        jobs.start("nothing", {})


@pytest.mark.parametrize(("state", "word"), [("0", "present"), ("1", "absent")])
def test_labels_of_one_kind_are_refused_and_leave_nothing(phantom_data: Path, state: str, word: str) -> None:
    def one_kind(folder: Path, package: ModelPackage) -> int:
        shutil.copytree(phantom_data, folder, dirs_exist_ok=True)
        rows = list(csv.reader((phantom_data / PRESENCE_FILE).open(encoding="utf-8")))
        with (folder / PRESENCE_FILE).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([rows[0], *([*place, state] for *place, _ in rows[1:])])
        return 4

    jobs = Jobs(one_kind)
    with pytest.raises(WssegError, match=f"labels: no slice has tumor marked {word}, both are needed"):
        jobs.start("tiny", {})
    assert jobs.progress().phase == "idle"
    assert [path.name for path in (home() / "jobs").iterdir()] == ["LOCK"]


def test_scribbles_of_one_kind_are_refused(phantom_data: Path) -> None:
    """Where there are no presence labels at all, and where a class has no stroke: a sentence, no process."""
    small_package(home() / "models" / "drawn" / "0.1", "pclmix")
    publish(home() / "models", "drawn", "0.1")

    def strokes(folder: Path, package: ModelPackage) -> int:
        scan = read_scan(next(iter(scan_files(phantom_data).values())))
        drawn = np.zeros(scan.voxels.shape, np.uint8)
        drawn[3:9, 3, 2] = 255
        shutil.copy(next(iter(scan_files(phantom_data).values())), folder / "a.nii.gz")
        write_mask(folder / "a_scribble.nii.gz", scan.like(drawn))
        (folder / PRESENCE_FILE).write_text("case,slice,tumor\n", encoding="utf-8")
        return 1

    with pytest.raises(WssegError, match="labels: no scan has scribbles of tumor"):
        Jobs(strokes).start("drawn", {})
    with pytest.raises(WssegError, match="labels: no slice has tumor marked present"):
        Jobs(strokes).start("tiny", {})


def test_a_job_whose_trainer_has_just_died_is_not_overtaken(jobs: Jobs) -> None:
    new_job()
    with pytest.raises(BusyError, match="tiny is being trained"):
        jobs.start("tiny", {})
    assert len(jobs.all()) == 1


def test_a_lock_that_is_never_let_go_of_is_not_waited_for_for_ever(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsseg.server.jobs.jobs._LEAVING", 0.2)
    (home() / "jobs").mkdir(exist_ok=True)
    held = TrainerLock(home() / "jobs" / "LOCK").take()
    assert held is not None
    with held, pytest.raises(BusyError):
        jobs.start("tiny", {})


def test_where_nothing_is_labelled_the_sentence_of_the_labels_is_passed_on() -> None:
    def nothing(folder: Path, package: ModelPackage) -> int:
        raise WssegError("no scan is labelled yet")

    with pytest.raises(WssegError, match="no scan is labelled yet"):
        Jobs(nothing).start("tiny", {})


def test_what_the_server_left_when_it_was_killed_while_it_collected_labels_is_removed(jobs: Jobs) -> None:
    begun = JobFolder.create(home() / "jobs", Plan("tiny", {"tiny": 2}))
    (begun.data / "scan.nii.gz").write_bytes(b"half")
    jobs.resume()
    assert not begun.folder.exists()
    assert jobs.progress().phase == "idle"


def test_a_job_that_cannot_be_done_says_why(tmp_path: Path) -> None:
    job = new_job()
    assert not Trainer(job, leading=True).run()
    progress = job.progress()
    assert progress.phase == "failed"
    assert "holds no scan" in progress.message or "image_labels.csv" in progress.message
    assert "\n" not in progress.message
    with pytest.raises(WssegError, match="is not a training job"):
        Trainer(JobFolder(tmp_path), leading=True)


@pytest.mark.long
def test_killed_started_again_adopted_and_cancelled(jobs: Jobs, snapshot: Callable[[Path, ModelPackage], int]) -> None:
    """One job's life, so that few processes have to be started.

    It saves after every step, so a kill may lose those since the last report, and no more.
    """
    lock = TrainerLock(home() / "jobs" / "LOCK")
    begun = jobs.start("tiny", {"steps": "20000", "device": "cuda:9", "name": "x", "max_epochs": None})
    assert (begun.phase, begun.model, begun.parts) == ("preparing", "tiny", ("tiny",))
    with pytest.raises(BusyError, match="tiny is being trained"):
        jobs.start("tiny", {})
    job = jobs.newest()
    job.write_plan(replace(job.plan(), save_every=0.0))  # the trainer is still importing
    first = lock.pid()
    assert first is not None
    _until(lambda: jobs.progress().step >= 20)
    os.kill(first, signal.SIGKILL)
    _until(lambda: lock.pid() not in (None, first))
    saved = _saved(job)
    assert saved >= 19
    assert jobs.progress().message == "goes on from the last checkpoint"
    _until(lambda: jobs.progress().phase == "training")
    assert jobs.progress().step >= saved
    # The next server, after a kill of this one, which is not there to look after the trainer any more.
    later = Jobs(snapshot)
    later.resume()
    step = later.progress().step
    _until(lambda: later.progress().step > step)
    # Both are stopped with Ctrl-C, and another starts.
    for server in (jobs, later):
        server.pause()
    _until(lambda: not lock.held())
    assert later.running()
    assert _saved(job) >= later.progress().step - 1
    saved = _saved(job)
    last = Jobs(snapshot)
    last.resume()
    assert lock.held()
    assert last.progress().phase == "preparing"
    _until(lambda: last.progress().phase == "training")
    assert last.progress().step >= saved
    ended = last.cancel()
    assert ended.phase == "cancelled"
    assert ended.message == "cancelled, tiny is as it was"
    assert not lock.held()
    assert find_package("tiny").folder.name == "0.1"
    assert last.wait().phase == "cancelled"
    assert not last.newest().data.exists()
    assert not list(home().rglob(".*")), "something half-written is left"


def _prepared(snapshot: Callable[[Path, ModelPackage], int], steps: int) -> JobFolder:
    job = new_job(steps=steps)
    snapshot(job.data, find_package("tiny"))
    return job


def test_a_job_is_finished_with_what_it_has_learned(
    jobs: Jobs, snapshot: Callable[[Path, ModelPackage], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weights so far are published as those of a whole run are."""
    monkeypatch.setattr("wsseg.training.state.FIRST_RESULT", 0.0)
    job = _prepared(snapshot, steps=20_000)
    job.finish()
    assert Trainer(job, leading=True).run()
    progress = job.progress()
    assert progress.phase == "done"
    assert progress.message.endswith("training was finished after 1 of 20000 steps")
    assert versions("tiny")[0].version in progress.message
    with pytest.raises(NothingYetError):  # it has ended
        jobs.finish()


@pytest.mark.parametrize("publishable", [False, True])
def test_a_viewers_stop_finishes_and_cancels_where_there_is_nothing_yet(jobs: Jobs, publishable: bool) -> None:
    job = new_job()
    job.tell(TrainingProgress(phase=Phase.TRAINING, model="tiny", parts=("tiny",), publishable=publishable))
    if not publishable:
        with pytest.raises(NothingYetError, match=r"there is nothing to publish yet: .* 60 seconds"):
            jobs.finish()
    assert jobs.stop().phase == ("training" if publishable else "cancelled")
    assert job.is_to_finish() is publishable
    assert jobs.stop().phase == "cancelled", "the second time it is not waited for"


def test_where_there_is_no_job_there_is_nothing_to_finish(jobs: Jobs) -> None:
    with pytest.raises(NothingYetError):
        jobs.finish()
    assert jobs.stop().phase == "idle"
