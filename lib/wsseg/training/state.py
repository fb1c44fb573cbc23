"""The state of a run between two steps: where it is, what it has spent, what is wanted of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch.utils.tensorboard import SummaryWriter

from wsseg.data.slices import LabelledSlices
from wsseg.errors import WssegError
from wsseg.labels.space import YES
from wsseg.methods.base import Method, Stage
from wsseg.models.record import SCRATCH
from wsseg.training.checkpoint import BEGUN, CHECKPOINT, Checkpoint
from wsseg.training.progress import PausedError, Phase, Report, TrainingProgress, Wish
from wsseg.training.settings import TrainSettings

log = logging.getLogger(__name__)

REPORT_EVERY = 20
"""Steps between two points of the curves."""


REPORT_SECONDS = 5.0
"""Longest silence, however slow steps are."""


CURVE = 200
"""Most points of a curve."""


FIRST_RESULT = 60.0
"""Seconds of training before which there is nothing to publish."""


class NothingYetError(WssegError):
    """Training has learned nothing yet that makes a model; status 409."""

    status = 409

    def __init__(self) -> None:
        super().__init__(
            f"there is nothing to publish yet: training has to run for {FIRST_RESULT:.0f} seconds"
            " and to reach the last part of the model; what was learned until now is kept"
        )


@dataclass
class RunState:
    """One run.

    Attributes:
        stages: of the method.
        data: what the running stage learns from.
        held: labels held back.
        lengths: steps of the running stage and those after it; 0 of those behind.
        origin: see :class:`TrainSettings`.
        first: stage that this process began with.
        carried: steps that were carried out of each stage behind.
        seconds: of training before this process.
        curve, scores: see :class:`TrainingProgress`.
        finished: whether it ends before its time, as was wanted.
        progress: as it was reported last.
    """

    method: Method
    stages: Sequence[Stage]
    data: LabelledSlices
    settings: TrainSettings
    accelerator: Accelerator
    listener: Report
    wish: Callable[[], Wish]
    curves: SummaryWriter
    held: LabelledSlices | None
    lengths: list[int]
    origin: str
    first: int = 0
    carried: list[int] = field(default_factory=list)
    seconds: float = 0.0
    curve: list[tuple[int, float]] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    finished: bool = False
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    _pace: tuple[int, float] = (0, 0.0)
    _reported: float = field(default_factory=time.monotonic)
    _saved: float = field(default_factory=time.monotonic)
    _started: float = field(default_factory=time.monotonic)

    @property
    def file(self) -> Path:
        """The checkpoint."""
        return self.settings.folder / CHECKPOINT

    @property
    def done(self) -> int:
        """Steps of the stages behind."""
        return sum(self.carried)

    @property
    def total(self) -> int:
        """Steps over all stages; under a time limit an estimate that gets better."""
        return self.done + sum(self.lengths)

    def elapsed(self) -> float:
        """Seconds of training, earlier runs included."""
        return self.seconds + time.monotonic() - self._started

    def pause(self, seconds: float) -> None:
        """So much time was no training: neither making labels nor timing steps takes of the minutes that steps have."""
        self._started += seconds

    def begin(self, step: int) -> None:
        """A stage begins, or goes on, at this step."""
        self._pace = (step, time.monotonic())

    def end(self, index: int, step: int) -> None:
        """A stage has ended at this step; what is missing of it, and all stages after it, stay planned."""
        self.carried.append(step)
        self.lengths[index] = max(0, self.lengths[index] - step)

    def part(self, index: int, step: int) -> float:
        """The part of a stage that lies behind after so many steps of it, 1 at its end; the same in every process.

        None does before its first step: where the minutes are over by then, each stage still has one.
        """
        if step == 0:
            return 0.0
        if self.settings.minutes is None:
            return min(1.0, step / self.lengths[index])
        lengths = [stage.steps for stage in self.stages]
        begin, end = (60 * self.settings.minutes * sum(lengths[:k]) / sum(lengths) for k in (index, index + 1))
        passed = torch.tensor((self.elapsed() - begin) / (end - begin), device=self.accelerator.device)
        part = min(1.0, max(0.0, float(broadcast(passed))))
        if part > 0:
            self.lengths[index] = max(step, round(step / part))
        return part

    def publishable(self, index: int) -> bool:
        """Whether the weights make a model if no later stage is trained."""
        behind = {id(weight) for stage in self.stages[: index + 1] for weight in stage.module.parameters()}
        later = {id(weight) for stage in self.stages[index + 1 :] for weight in stage.module.parameters()}
        new = self.origin == SCRATCH or bool(self.settings.begun)
        return self.elapsed() >= FIRST_RESULT and (not new or later <= behind)

    def heed(self, index: int, step: int, save: Callable[[], None]) -> None:
        """Do what is wanted of the run now.

        Raises:
            NothingYetError: it is to finish, and has learned too little; it is saved.
            PausedError: it is to pause, and is saved.
        """
        wish = self._wanted(step)
        self.finished = wish is Wish.FINISH and self.publishable(index)
        if wish is Wish.GO_ON or self.finished:
            return
        save()
        if wish is Wish.FINISH:
            raise NothingYetError
        raise PausedError(f"paused after {self.done + step} of {self.total} steps; started again, training goes on")

    def _wanted(self, step: int) -> Wish:
        """The same in every process; several, which agree on it, ask only now and then."""
        if self.accelerator.num_processes == 1:
            return self.wish()
        if step % REPORT_EVERY:
            return Wish.GO_ON
        return Wish(int(broadcast(torch.tensor(self.wish().value, device=self.accelerator.device))))

    def plan(self) -> dict[str, Any]:
        """What must not change between the parts of an interrupted run."""
        positive = int((self.data.targets.presence == YES).sum())
        return {
            "seed": self.settings.seed,
            "held back": self.settings.held_back,
            "slices": len(self.data.images),
            "positive slices": positive,
            "size": self.data.images.shape[-1],
            "frozen parts": {f"frozen {name}": f"{part}" for name, part in self.settings.frozen.items()},
            BEGUN: {name: f"{part}" for name, part in self.settings.begun.items()},
            **{f"settings.{key}": value for key, value in self.method.settings.model_dump(mode="json").items()},
        }

    def restore(self, saved: Checkpoint) -> None:
        """Be where an interrupted run was.

        Raises:
            WssegError: it was one under other terms, or of another network.
        """
        saved.check_plan(self.plan(), self.file)
        try:
            self.method.load_state_dict(saved.method)
        except RuntimeError as error:
            raise WssegError(f"{self.file}: is of another network; start again with --fresh") from error
        self.first, self.carried = saved.stage, list(saved.carried)
        self.seconds, self.origin = saved.seconds, saved.origin
        self.curve, self.scores = list(saved.curve), list(saved.scores)
        if saved.stage < len(self.stages):
            log.info(
                "training goes on where it was interrupted, after %d steps; --fresh begins anew",
                self.done + saved.step,
            )
        self.lengths[: saved.stage] = [0] * saved.stage
        if saved.step:  # under fewer steps than were done it is at its end
            self.lengths[saved.stage] = max(saved.step, self.lengths[saved.stage])

    def due(self) -> bool:
        """Whether a checkpoint should be written."""
        return time.monotonic() - self._saved > self.settings.save_every

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; one process does it for all."""
        self._saved = time.monotonic()
        if self.accelerator.is_main_process:
            checkpoint.write(self.file)

    def speaks(self, step: int) -> bool:
        """Whether a step is to be reported; several processes, which do so together, count steps alone."""
        silent = self.accelerator.num_processes == 1 and time.monotonic() - self._reported > REPORT_SECONDS
        return silent or step % REPORT_EVERY == 0

    def report(self, index: int, step: int, losses: dict[str, float]) -> None:
        """Tell how far it is, and draw the curves; one process does it for all."""
        if not self.accelerator.is_main_process:
            return
        self._reported = time.monotonic()
        self.curve.append((self.done + step, round(sum(losses.values()), 5)))
        self.curve[:] = self.curve[:: 1 + len(self.curve) // CURVE]
        for name, loss in losses.items():
            self.curves.add_scalar(f"{self.stages[index].name}/{name}", loss, step)
        self.progress = TrainingProgress(
            phase=Phase.TRAINING,
            stage=self.stages[index].name,
            step=self.done + step,
            steps=self.total,
            seconds=round(self.elapsed(), 1),
            seconds_left=round(self._seconds_left(step), 1),
            losses=losses,
            curve=tuple(self.curve),
            scores=tuple(self.scores),
            publishable=self.publishable(index),
        )
        self.listener(self.progress)

    def _seconds_left(self, step: int) -> float:
        """As if steps to come were as slow as those of this stage so far."""
        if self.settings.minutes is not None:
            return max(0.0, 60 * self.settings.minutes - self.elapsed())
        begin, started = self._pace
        return (self.total - self.done - step) * (time.monotonic() - started) / (step - begin)
