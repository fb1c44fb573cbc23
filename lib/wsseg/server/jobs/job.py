"""The training process: ``python -m wsseg.server.jobs.job <folder>``, also under torchrun.

It reads the labels that the server put into the job's folder, and nothing of
the server's own. Killed at any moment, it goes on from its last checkpoint when
it is started again on the same folder.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

import torch

from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.methods.registry import create_method
from wsseg.models.package import ModelPackage, read_package
from wsseg.models.shelf import find_package, publish, versions
from wsseg.server.jobs.job_folder import JobFolder, State
from wsseg.training.loop import Stats, TrainSettings
from wsseg.training.run import train_package

log = logging.getLogger(__name__)

HELD_BACK = 0.2
"""Part of the scans that decides whether a new version is published."""

_TOLD_EVERY = 0.5
_NICE = 10
_DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


class _Stop(BaseException):
    """The process was asked to end."""


class Trainer:
    """Carries out one job, part after part.

    Args:
        job: its folder, with a plan.
        leading: whether this process, of those that train together, tells how far it is.
    """

    def __init__(self, job: JobFolder, leading: bool) -> None:
        plan = job.plan()
        if plan is None:
            raise WssegError(f"{job.folder}: is not a training job")
        self._job = job
        self._plan = plan
        self._leading = leading
        self._status = job.status()
        self._done_steps = 0
        self._done_seconds = 0.0
        self._publishing = False
        self._stop_wanted = False
        self._told = 0.0

    def run(self) -> bool:
        """Train all parts; False if it failed."""
        signal.signal(signal.SIGTERM, self._stop)
        message = ""
        try:
            totals = {name: self._steps_of(find_package(name)) for name in self._plan.steps}
            self._status.total = sum(totals.values())
            for name in self._plan.steps:
                self._go_on()
                message = self._train(name)
                self._done_steps += totals[name]
                self._done_seconds = self._status.seconds
            self._tell("done", message)
            return True
        except WssegError as error:
            self._tell("failed", str(error).replace(f"{self._job.folder}/", ""))
        except Exception as error:
            log.exception("failed")
            where = f"jobs/{self._job.id}/train.log in the work directory"
            self._tell("failed", f"training failed ({type(error).__name__}), {where} says why")
        return False

    def _train(self, name: str) -> str:
        """Train one model; returns what is to be said of the new version."""
        package = find_package(name)
        self._status.part, self._status.stage = name, ""
        self._publishing = False
        if made := self._made_already(name):
            return made
        settings = TrainSettings(
            folder=self._job.run(name),
            steps=self._plan.steps[name],
            save_every=self._plan.save_every,
            held_back=HELD_BACK,
        )
        models, job = home() / "models", self._job.id
        trained = train_package(package, self._job.data, models, settings, self._report, self._prepare, job=job)
        return trained.message

    def _steps_of(self, package: ModelPackage) -> int:
        steps = self._plan.steps[package.name]
        return sum(steps or stage.steps for stage in create_method(package).stages())

    def _made_already(self, name: str) -> str:
        """What is to be said of the version that this job wrote before it was killed, empty if it wrote none.

        A kill may have come before it was published, so that is done again.
        """
        models = home() / "models"
        for made in (version for version in versions(name) if not version.shipped):
            training = read_package(models / name / made.version, name).recipe.training
            if training and training.job == self._job.id:
                if not made.worse:
                    publish(models, name, made.version)
                return f"{made.version}: {made.message}"
        return ""

    def _report(self, stats: Stats) -> None:
        status, done = self._status, self._done_steps
        status.stage = stats.stage
        status.step = done + stats.epoch
        status.seconds = round(self._done_seconds + stats.seconds, 1)
        if stats.epoch:
            status.seconds_left = round((status.total - status.step) * stats.seconds / stats.epoch, 1)
        # What lies behind `done` are the curves of parts before this one.
        status.curve = [p for p in status.curve if p[0] <= done] + [(done + step, loss) for step, loss in stats.curve]
        status.scores = [p for p in status.scores if p[0] <= done] + [(done + step, s) for step, s in stats.scores]
        self._publishing = stats.total_time is not None
        self._tell("publishing" if self._publishing else "training", f"{status.part}: {stats.stage}")

    def _prepare(self, what: str, part: float) -> None:
        self._go_on()
        if time.monotonic() - self._told > _TOLD_EVERY:
            state: State = "publishing" if self._publishing else "preparing"
            self._tell(state, f"{self._status.part}: {what}, {part:.0%}")

    def _tell(self, state: State, message: str) -> None:
        self._told = time.monotonic()
        self._status.state, self._status.message = state, message
        if self._leading:
            self._job.write_status(self._status)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """End at once; but while a version is published, when that is done."""
        self._stop_wanted = True
        if not self._publishing:
            raise _Stop

    def _go_on(self) -> None:
        if self._stop_wanted:
            raise _Stop


def main() -> None:
    """Train; the status file says how it went, the exit status is for the log."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    if "RANK" in os.environ:  # torchrun, killed, would leave its processes behind
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if not torch.cuda.is_available():
        os.nice(_NICE)  # a radiologist who clicks meanwhile comes first
        with suppress(OSError):  # Linux weighs sessions against each other, and this one is of its own
            Path("/proc/self/autogroup").write_text(str(_NICE))
    try:
        trained = Trainer(JobFolder(Path(sys.argv[1])), leading=os.environ.get("RANK", "0") == "0").run()
    except _Stop:
        log.info("stopped")
        sys.exit(0)
    sys.exit(0 if trained else 1)


if __name__ == "__main__":
    main()
