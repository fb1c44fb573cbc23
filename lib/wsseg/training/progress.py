"""How far training is: one model, from the loop through a job's file to the page."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, StrEnum, auto

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from wsseg.errors import WssegError
from wsseg.methods.prompt import Progress


class Phase(StrEnum):
    """What is being done, or how it ended."""

    IDLE = "idle"
    PREPARING = "preparing"
    TRAINING = "training"
    PUBLISHING = "publishing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will be done."""
        return self in (Phase.DONE, Phase.FAILED, Phase.CANCELLED)


class Wish(Enum):
    """What whoever watches wants of a run."""

    GO_ON = auto()
    FINISH = auto()
    """To end, with the best weights so far as its result."""

    PAUSE = auto()
    """To end, and to be gone on with later."""


class PausedError(WssegError):
    """Training was asked to pause, and has."""


class TrainingProgress(BaseModel):
    """How far training is.

    Attributes:
        phase: what is being done; ``idle`` where there was never a job.
        message: one sentence for people.
        prepared: finished part of what is being prepared, or of publishing, in [0, 1].
        model: that was asked for, None where that is not known.
        parts: names of the models that are trained, in order.
        part: the one of them that is trained now.
        stage: of its method.
        step, steps: behind and in all, over all stages and parts.
        seconds: of training so far, those before an interruption included.
        seconds_left: an estimate, None where there is none yet.
        losses: of the last step.
        curve: pairs of step and sum of losses.
        scores: pairs of step and score on labels held back.
        publishable: whether what has been learned so far makes a model.
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    # Jobs that ended before these fields had their names are still listed.
    phase: Phase = Field(Phase.IDLE, validation_alias=AliasChoices("phase", "state"))
    message: str = ""
    prepared: float = 0.0
    model: str | None = None
    parts: tuple[str, ...] = ()
    part: str = ""
    stage: str = ""
    step: int = 0
    steps: int = Field(0, validation_alias=AliasChoices("steps", "total"))
    seconds: float = 0.0
    seconds_left: float | None = None
    losses: dict[str, float] = {}
    curve: tuple[tuple[int, float], ...] = ()
    scores: tuple[tuple[int, float], ...] = ()
    publishable: bool = False

    def after(self, before: TrainingProgress, rest: int) -> TrainingProgress:
        """The progress of one part as that of its whole job.

        Args:
            before: at the end of the part before it.
            rest: steps of the parts to come, taken to be as slow as those of this one.
        """
        left = self.seconds_left
        if left is not None and self.step:
            left += rest * self.seconds / self.step
        return self.model_copy(
            update={
                "model": before.model,
                "parts": before.parts,
                "step": before.step + self.step,
                "steps": before.step + self.steps + rest,
                "seconds": round(before.seconds + self.seconds, 1),
                "seconds_left": None if left is None else round(left, 1),
                "curve": before.curve + tuple((before.step + step, loss) for step, loss in self.curve),
                "scores": before.scores + tuple((before.step + step, score) for step, score in self.scores),
            }
        )


Report = Callable[[TrainingProgress], None]
"""Told how far training is, now and then."""


def preparing(report: Report, what: str, wish: Callable[[], Wish], so_far: TrainingProgress | None = None) -> Progress:
    """What to tell the finished part of a preparation to.

    It raises :class:`PausedError` where the run is to pause: nothing of the preparation is kept.
    """
    known = so_far or TrainingProgress()

    def tell(part: float) -> None:
        report(known.model_copy(update={"phase": Phase.PREPARING, "message": what, "prepared": part}))
        if wish() is Wish.PAUSE:
            raise PausedError(f"paused while {what}; started again, training goes on")

    return tell
