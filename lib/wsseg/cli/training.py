"""How `wsseg train` tells how far it is, and what Ctrl-C means to it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from wsseg.training.progress import Phase, TrainingProgress, Wish

EVERY = 10.0
"""Seconds between two lines where the output is no terminal."""

TWICE = 2.0
"""Seconds within which a second Ctrl-C makes the first one mean "finish"."""


class TrainingBar:
    """A bar with the time left on a terminal, else a line now and then.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"),
            console=console,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._told = float("-inf")
        self._said = ""

    def __call__(self, progress: TrainingProgress) -> None:
        """Show how far training is."""
        what = progress.message if progress.phase is Phase.PREPARING else progress.phase
        if self._console.is_terminal:
            self._show(what, progress)
        elif time.monotonic() - self._told >= EVERY or what != self._said:
            self._told, self._said = time.monotonic(), what
            words = [*_words(what, progress), f"{_part(progress):.0%}", _left(progress)]
            self._console.print(" · ".join(word for word in words if word), highlight=False, soft_wrap=True)

    def _show(self, what: str, progress: TrainingProgress) -> None:
        self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=1.0, left="")
        description = " · ".join(_words(what, progress))
        self._bar.update(self._tasks[what], completed=_part(progress), description=description, left=_left(progress))

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._bar.live.is_started:
            self._bar.stop()


def _part(progress: TrainingProgress) -> float:
    """Finished part of what is being done, in [0, 1]; of training by time, where that is known."""
    if progress.phase is Phase.PREPARING:
        return progress.prepared
    if progress.phase is Phase.PUBLISHING:
        return 1.0
    if progress.seconds_left is not None and progress.seconds:
        return progress.seconds / (progress.seconds + progress.seconds_left)
    return progress.step / max(progress.steps, 1)


def _words(what: str, progress: TrainingProgress) -> list[str]:
    losses = ", ".join(f"{name} {loss:.3f}" for name, loss in progress.losses.items())
    return [word for word in (what, progress.stage, losses) if word]


def _left(progress: TrainingProgress) -> str:
    if progress.phase is not Phase.TRAINING or progress.seconds_left is None:
        return ""
    return f"{timedelta(seconds=round(progress.seconds_left))} left"


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
            self._say("pausing; Ctrl-C again within two seconds finishes with the best weights so far")
        elif len(self._pressed) == 2 and now - self._pressed[0] <= TWICE:
            self._say("finishing with the best weights so far")
        else:
            raise KeyboardInterrupt

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, soft_wrap=True)
