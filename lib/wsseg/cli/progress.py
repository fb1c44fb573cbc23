"""Progress bars on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from wsseg.cli.common import errors

EVERY = 10.0
"""Seconds between two lines where the output is no terminal."""


@contextmanager
def bar(description: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr, told the finished part in [0, 1]; begun by the first, so an early error is one line."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    bars = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=errors)
    task = bars.add_task(description, total=1.0)

    def report(part: float) -> None:
        bars.start()
        bars.update(task, completed=part)

    try:
        yield report
    finally:
        if bars.live.is_started:
            bars.stop()


def part_of(progress: Callable[[float], None], index: int, count: int) -> Callable[[float], None]:
    """What to tell the progress of one of ``count`` equal steps to."""
    return lambda part: progress((index + part) / count)


class LongBar:
    """What takes long: bars with the time left on a terminal, else a line now and then.

    Args:
        console: where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        # What is said last is cut where a terminal is narrow, and never the time left.
        words = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
        figures = (BarColumn(20), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
        self._bar = Progress(*figures, words, console=console, expand=True)
        self._tasks: dict[str, TaskID] = {}
        self._told = float("-inf")
        self._said = ""

    def tell(self, what: str, words: Sequence[str], part: float, seconds_left: float | None) -> None:
        """Show how far it is.

        Args:
            what: is being done; each has a bar, and its first line at once.
            words: more of it.
            part: finished, in [0, 1].
            seconds_left: None where that is not known.
        """
        left = "" if seconds_left is None else f"{timedelta(seconds=round(seconds_left))} left"
        shown = [word for word in (what, *words) if word]
        if self._console.is_terminal:
            self._show(what, " · ".join(shown), part, left)
        elif time.monotonic() - self._told >= EVERY or what != self._said:
            self._told, self._said = time.monotonic(), what
            line = " · ".join([*shown, f"{part:.0%}", *([left] if left else [])])
            self._console.print(line, highlight=False, soft_wrap=True)

    def _show(self, what: str, description: str, part: float, left: str) -> None:
        self._bar.start()
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=1.0, left="")
        self._bar.update(self._tasks[what], completed=part, description=description, left=left)

    def stop(self) -> None:
        """Leave the bars as they are."""
        if self._bar.live.is_started:
            self._bar.stop()
