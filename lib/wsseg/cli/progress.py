"""Progress bars on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from wsseg.cli.common import errors


@contextmanager
def bar(description: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on stderr, told the finished part in [0, 1]; begun by the first, so an early error is one line."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    bars = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=errors)
    task = bars.add_task(description, total=1.0)

    def told(part: float) -> None:
        bars.start()
        bars.update(task, completed=part)

    try:
        yield told
    finally:
        if bars.live.is_started:
            bars.stop()


def part_of(progress: Callable[[float], None], index: int, count: int) -> Callable[[float], None]:
    """What to tell the progress of one of ``count`` equal steps to."""
    return lambda part: progress((index + part) / count)
