"""The one training job of a work directory, in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import psutil
import torch

from wsseg.data.slices import check_folder
from wsseg.errors import WssegError, naming
from wsseg.files import home
from wsseg.methods.registry import method_class
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package, versions
from wsseg.server.jobs.job_folder import JobFolder, Plan, all_jobs, newest_job
from wsseg.server.jobs.lock import TrainerLock
from wsseg.server.jobs.request import plan_of
from wsseg.training.progress import Phase, TrainingProgress
from wsseg.training.state import NothingYetError

logger = logging.getLogger(__name__)

_TRIES = 3
_LOOK_EVERY = 0.3
_PATIENCE = 60.0
_LEAVING = 30.0

Snapshot = Callable[[Path, ModelPackage], int]
"""Writes the labels as they are now into a data folder that a package can be trained on."""


class BusyError(WssegError):
    """A model is being trained already; status 409."""

    status = 409


class Jobs:
    """Starts, watches, ends and resumes training.

    The training process tells how far it is through its job's folder, so it
    outlives the server: the next one goes on showing it, and starts it again
    where it has died.

    Args:
        snapshot: called once per job.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._folder = home() / "jobs"
        self._lock = TrainerLock(self._folder / "LOCK")
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._pausing = False

    def start(self, model: str, request: Mapping[str, Any]) -> TrainingProgress:
        """Train a model, its parents first, on the labels as they are now.

        Args:
            request: see :func:`plan_of`.

        Returns:
            How far it is.

        Raises:
            BusyError: a model is being trained.
            NotFoundError: no such model.
            WssegError: a field is wrong, or the labels do not suffice.
        """
        package = find_package(model)
        plan = plan_of(package, request)
        with self._changing:
            with self._take() as held:
                job = self._collect(plan, package)
                self._launch(job, held)
            self._watch(job)
        return self.progress()

    def progress(self) -> TrainingProgress:
        """How far the job is, or how the last one ended."""
        job = self.newest()
        return job.progress() if job else TrainingProgress()

    def running(self) -> bool:
        """Whether a job is prepared or carried out."""
        job = self.newest()
        return job is not None and not job.progress().phase.ended

    def newest(self) -> JobFolder | None:
        """The job that was asked for last."""
        return newest_job(self._folder)

    def all(self) -> list[JobFolder]:
        """Every job there was, oldest first."""
        return all_jobs(self._folder)

    def cancel(self) -> TrainingProgress:
        """End the job, if there is one; a model that is being published is published first.

        Returns:
            How it ended.
        """
        with self._changing:
            job = self.newest()
            if job is not None and not job.progress().phase.ended:
                self._end()
                progress = job.progress()
                if not progress.phase.ended:
                    job.tell(_cancelled(progress, job.started))
        return self.progress()

    def finish(self) -> TrainingProgress:
        """End the job with the best weights so far, which are published as those of a whole run are.

        Returns:
            How far it is; the end comes in a moment.

        Raises:
            NothingYetError: no job runs, or it has learned nothing yet that makes a model.
        """
        with self._changing:
            job = self.newest()
            if job is None or not self._can_finish(job):
                raise NothingYetError
            job.finish()
        return self.progress()

    def stop(self) -> TrainingProgress:
        """End the job as a viewer's only button does: with the best weights so far, without a result if there are none.

        Pressed again while it finishes, it is cancelled.
        """
        job = self.newest()
        if job is not None and self._can_finish(job) and not job.is_to_finish():
            return self.finish()
        return self.cancel()

    @staticmethod
    def _can_finish(job: JobFolder) -> bool:
        progress = job.progress()
        return progress.publishable and not progress.phase.ended

    def wait(self) -> TrainingProgress:
        """How far it is when the job has ended."""
        watcher = self._watcher
        if watcher is not None:
            watcher.join()
        return self.progress()

    def resume(self) -> None:
        """Go on with what an earlier server began: show a trainer that lives, start one again that has died."""
        if not self._lock.works():
            return
        with self._changing:
            held = self._lock.take()
            if held is None:
                job = self.newest()
                logger.info("a training process of an earlier server goes on: %s", job.id if job else "")
            else:
                with held:
                    job = self._restart(held)
            if job is not None:
                self._watch(job)

    def pause(self) -> None:
        """End the trainer of this server, which is being stopped; the next server resumes it."""
        self._pausing = True
        pid = self._lock.pid() if self._watcher and self._watcher.is_alive() else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _take(self) -> BinaryIO:
        """The lock, where no job runs; a trainer that has told its end is given a moment to leave.

        Raises:
            BusyError: a job runs, or its trainer has died and is about to be started again.
        """
        end = time.monotonic() + _LEAVING
        held = self._lock.take()
        while held is None and not self.running() and time.monotonic() < end:
            time.sleep(0.05)
            held = self._lock.take()
        if held is not None and not self.running():
            return held
        if held is not None:
            held.close()
        raise BusyError(f"{self._newest_model()} is being trained, wait for its end or stop it first")

    def _newest_model(self) -> str:
        return self.progress().model or "a model"

    def _collect(self, plan: Plan, package: ModelPackage) -> JobFolder:
        """A job's folder with the labels in it, which from then on survives any kill."""
        job = JobFolder.create(self._folder, plan)
        try:
            self._snapshot(job.data, package)
            with naming(job.data, "labels"):
                check_labels(job.data, package)
            job.write_plan(plan)
        except BaseException:
            job.remove()
            raise
        return job

    def _restart(self, held: BinaryIO) -> JobFolder | None:
        for job in self.all():
            if job.plan() is None:  # the server was killed before the labels were complete
                job.remove()
        newest = self.newest()
        if newest is None or newest.progress().phase.ended:
            return None
        logger.info("resumed: %s", newest.id)
        self._launch(newest, held)
        return newest

    def _launch(self, job: JobFolder, held: BinaryIO) -> None:
        """Start the trainer, which inherits the lock."""
        progress = job.progress()
        if progress.step:
            message = "goes on from the last checkpoint"
            job.tell(progress.model_copy(update={"phase": Phase.PREPARING, "message": message}))
        with job.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*launcher(torch.cuda.device_count()), "-m", "wsseg.server.jobs.job", str(job.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the server's terminal is for the server
                pass_fds=(held.fileno(),),
            )
        self._lock.name(held, self._process.pid)

    def _watch(self, job: JobFolder) -> None:
        self._watcher = threading.Thread(target=self._see_to_it, args=(job,), name="training", daemon=True)
        self._watcher.start()

    def _see_to_it(self, job: JobFolder) -> None:
        """Wait for the end of a job; start a trainer again that was killed, as long as it gets on."""
        tries, reached = 0, -1
        while True:
            while self._lock.held():
                time.sleep(_LOOK_EVERY)
            with self._changing:  # whoever cancels writes that down before letting go of it
                if self._process is not None:
                    self._process.wait()
                progress = job.progress()
                if self._pausing or job.plan() is None:  # or of another server that could not collect its labels
                    return
                if progress.phase.ended:
                    break
                tries = tries + 1 if progress.step <= reached else 0
                reached = progress.step
                if not self._again(job, tries):
                    break
        logger.info("%s: %s", job.id, job.progress().message)
        job.tidy()

    def _again(self, job: JobFolder, tries: int) -> bool:
        if tries == _TRIES:
            last = f"jobs/{job.id}/train.log in the work directory has its last words"
            message = f"the training process ended again and again, as where memory is short; {last}"
            job.tell(job.progress().model_copy(update={"phase": Phase.FAILED, "message": message}))
            return False
        held = self._lock.take()
        if held is not None:
            with held:
                logger.warning("%s: the training process was killed, it is started again", job.id)
                self._launch(job, held)
        return True

    def _publishing(self) -> bool:
        job = self.newest()
        return job is not None and job.progress().phase is Phase.PUBLISHING

    def _end(self) -> None:
        """Ask the trainer to end, and kill it where it does not."""
        pid = self._lock.pid()
        if pid is None:
            return
        with suppress(psutil.NoSuchProcess):
            trainer = psutil.Process(pid)
            family = [trainer, *trainer.children(recursive=True)]
            trainer.terminate()
            end = time.monotonic() + _PATIENCE
            while self._lock.held() and (time.monotonic() < end or self._publishing()):
                time.sleep(0.05)
            for process in family if self._lock.held() else ():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        while self._lock.held():
            time.sleep(0.05)


def check_labels(data: Path, package: ModelPackage) -> None:
    """Refuse labels from which nothing can be learned, before a process is started for it.

    Raises:
        WssegError: a class is present nowhere, or absent nowhere; or it, or
            background, is in nobody's scribbles or finished mask.
    """
    check_folder(data, package.labels, method_class(package.recipe.method).learns_from)


def _cancelled(progress: TrainingProgress, started: datetime) -> TrainingProgress:
    """How a job has ended whose trainer was ended."""
    made = [part for part in progress.parts if _trained_since(part, started)]
    phase, message = Phase.CANCELLED, f"cancelled, {progress.model} is as it was"
    if progress.model in made:
        phase, message = Phase.DONE, "published before it could be cancelled"
    elif made:
        message += f"; {', '.join(made)} was trained before"
    return progress.model_copy(update={"phase": phase, "message": message, "publishable": False})


def _trained_since(model: str, moment: datetime) -> bool:
    """Whether the version in use was made after that."""
    times = [version.time for version in versions(model) if version.current]
    return any(time and time.astimezone() > moment for time in times)


MOST_PROCESSES = 4
"""TextDiff's batch has so many squares, and PCLMix's is then two slices each, which are mixed."""


def launcher(gpus: int) -> list[str]:
    """One process, or on several GPUs one on each; a power of two, which divides every method's batch."""
    if gpus < 2:
        return [sys.executable]
    count = min(MOST_PROCESSES, 1 << (gpus.bit_length() - 1))
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
