"""How `wsseg train` tells how far it is, and what Ctrl-C means to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from wsseg.cli.progress import LongBar
from wsseg.training.progress import Phase, TrainingProgress, Wish

TWICE = 2.0
"""Seconds within which a second Ctrl-C makes the first one mean "finish"."""


LEAST_SHOWN = 0.0005
"""A loss that is less would be shown as 0."""


class TrainingBar(LongBar):
    """How far a training is, and how long what is being done takes yet.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._begun: dict[str, tuple[float, float]] = {}

    def __call__(self, progress: TrainingProgress) -> None:
        """Show it."""
        training = progress.phase is Phase.TRAINING
        what = progress.message if progress.phase is Phase.PREPARING else progress.phase
        part = _part(progress)
        left = progress.seconds_left if training else self._left(what, part)
        self.tell(what, _words(progress) if training else [], part, left)

    def _left(self, what: str, part: float) -> float | None:
        """Seconds, at the pace since it was told of first; None where nothing was done since."""
        begun, before = self._begun.setdefault(what, (time.monotonic(), part))
        return (time.monotonic() - begun) * (1 - part) / (part - before) if part > before else None


def _part(progress: TrainingProgress) -> float:
    """Finished part of what is being done, in [0, 1]; of training by time, where that is known."""
    if progress.phase is not Phase.TRAINING:
        return progress.prepared
    if progress.seconds_left is not None and progress.seconds:
        return progress.seconds / (progress.seconds + progress.seconds_left)
    return progress.step / max(progress.steps, 1)


def _words(progress: TrainingProgress) -> list[str]:
    """The stage, and of its losses those that apply: of kinds of labels that there are none of they are 0."""
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in progress.losses.items() if abs(loss) >= LEAST_SHOWN)
    return [progress.stage, f"losses: {losses}" if losses else ""]


class CtrlC:
    """What Ctrl-C means: once to pause, twice within two seconds to finish now; a third time to end at once.

    Args:
        console: where the first one is explained.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pressed: list[float] = []

    def wish(self) -> Wish:
        """What is wanted of the run."""
        if len(self._pressed) > 1:
            return Wish.FINISH
        if self._pressed and time.monotonic() - self._pressed[0] > TWICE:
            return Wish.PAUSE
        return Wish.GO_ON

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Hear it while training lasts."""
        before = signal.signal(signal.SIGINT, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self._pressed.append(now)
        if len(self._pressed) == 1:
            self._say("pausing; Ctrl-C again within two seconds finishes, and publishes what is ready")
        elif len(self._pressed) == 2 and now - self._pressed[0] <= TWICE:
            self._say("finishing: the best weights so far are checked, and published if they are ready")
        else:
            raise KeyboardInterrupt

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, soft_wrap=True)
