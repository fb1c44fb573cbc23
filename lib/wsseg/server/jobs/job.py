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
from typing import Any

import torch

from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.methods.registry import create_method
from wsseg.models.package import ModelPackage, read_package
from wsseg.models.shelf import find_package, publish, versions
from wsseg.server.jobs.job_folder import JobFolder
from wsseg.training.progress import Phase, TrainingProgress, Wish
from wsseg.training.run import train_package
from wsseg.training.settings import TrainSettings

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
        self._progress = job.progress()
        self._before = TrainingProgress()
        self._rest = 0
        self._stop_wanted = False
        self._told = 0.0

    def run(self) -> bool:
        """Train all parts; False if it failed."""
        signal.signal(signal.SIGTERM, self._stop)
        message = ""
        try:
            lengths = {name: self._steps_of(find_package(name)) for name in self._plan.steps}
            self._rest = sum(lengths.values())
            for name, length in lengths.items():
                self._go_on()
                self._before = self._up_to(self._before.step, self._progress.seconds if self._before.step else 0.0)
                self._rest -= length
                message = self._train(name)
                self._before = self._before.model_copy(update={"step": self._before.step + length})
            self._tell(phase=Phase.DONE, message=message)
            return True
        except WssegError as error:
            self._tell(phase=Phase.FAILED, message=str(error).replace(f"{self._job.folder}/", ""))
        except Exception as error:
            log.exception("failed")
            where = f"jobs/{self._job.id}/train.log in the work directory"
            self._tell(phase=Phase.FAILED, message=f"training failed ({type(error).__name__}), {where} says why")
        return False

    def _train(self, name: str) -> str:
        """Train one model; returns what is to be said of the new version."""
        package = find_package(name)
        self._progress = self._progress.model_copy(
            update={"phase": Phase.PREPARING, "part": name, "stage": "", "publishable": False}
        )
        if made := self._made_already(name):
            return made
        settings = TrainSettings(
            folder=self._job.run(name),
            steps=self._plan.steps[name],
            save_every=self._plan.save_every,
            held_back=HELD_BACK,
        )
        models, job = home() / "models", self._job.id
        data = self._job.data
        return train_package(package, data, models, settings, self._report, job=job, wish=self._wish).message

    def _wish(self) -> Wish:
        """Only the model that was asked for is finished early; its parents are what it is made of."""
        last = self._progress.part == self._plan.model
        return Wish.FINISH if last and self._job.is_to_finish() else Wish.GO_ON

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

    def _report(self, found: TrainingProgress) -> None:
        """Tell how far the part is that is trained now, as that of the job."""
        if found.phase is Phase.PREPARING:
            self._go_on()
            if time.monotonic() - self._told > _TOLD_EVERY:
                message = f"{self._progress.part}: {found.message}, {found.prepared:.0%}"
                self._tell(phase=Phase.PREPARING, message=message, prepared=found.prepared)
            return
        part = self._progress.part
        if found.steps:  # none where nothing of this part was left to train
            self._progress = found.after(self._before, self._rest)
        publishable = found.publishable and part == self._plan.model
        self._tell(phase=found.phase, part=part, message=f"{part}: {found.stage}", publishable=publishable)

    def _up_to(self, step: int, seconds: float) -> TrainingProgress:
        """What lies behind when a part begins."""
        return TrainingProgress(
            model=self._plan.model,
            parts=tuple(self._plan.steps),
            step=step,
            seconds=seconds,
            curve=tuple(point for point in self._progress.curve if point[0] <= step),
            scores=tuple(point for point in self._progress.scores if point[0] <= step),
        )

    def _tell(self, **changed: Any) -> None:
        self._told = time.monotonic()
        self._progress = self._progress.model_copy(update=changed)
        if self._leading:
            self._job.tell(self._progress)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """End at once; but while a version is published, when that is done."""
        self._stop_wanted = True
        if self._progress.phase is not Phase.PUBLISHING:
            raise _Stop

    def _go_on(self) -> None:
        if self._stop_wanted:
            raise _Stop


def main() -> None:
    """Train; the status file says how it went, the exit status is for the log."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    if "RANK" in os.environ and sys.platform == "linux":  # torchrun, killed, would leave its processes behind
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if not torch.cuda.is_available() and hasattr(os, "nice"):
        os.nice(_NICE)  # a radiologist who clicks meanwhile comes first
        with suppress(OSError):  # Linux weighs sessions against each other, and this one is of its own
            Path("/proc/self/autogroup").write_text(str(_NICE), encoding="utf-8")
    try:
        trained = Trainer(JobFolder(Path(sys.argv[1])), leading=os.environ.get("RANK", "0") == "0").run()
    except _Stop:
        log.info("stopped")
        sys.exit(0)
    sys.exit(0 if trained else 1)


if __name__ == "__main__":
    main()
