"""How `wsseg train` tells how far it is, and what Ctrl-C means to it."""

from __future__ import annotations

import io
import signal

import pytest
from rich.console import Console

from wsseg.cli.models.training import CtrlC, TrainingBar
from wsseg.cli.progress import EVERY
from wsseg.training.progress import Phase, TrainingProgress, Wish


class _Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("wsseg.cli.models.training.time.monotonic", lambda: self.now)


def _at(step: int, seconds: float) -> TrainingProgress:
    return TrainingProgress(
        phase=Phase.TRAINING,
        stage="student",
        step=step,
        steps=400,
        seconds=seconds,
        seconds_left=3 * seconds,
        losses={"dice": 0.25, "in boxes": -0.0},
    )


def test_a_file_gets_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = _Clock(monkeypatch), io.StringIO()
    bar = TrainingBar(Console(file=told))
    bar(TrainingProgress(phase=Phase.PREPARING, message="reading scans", prepared=0.5))
    for second in range(25):
        bar(_at(second, seconds=100))
        clock.now += 1
    bar(_at(399, 100).model_copy(update={"phase": Phase.PUBLISHING, "seconds_left": None}))
    bar.stop()
    assert told.getvalue().splitlines() == [
        "reading scans · 50%",
        *["training · student · losses: dice 0.250 · 25% · 0:05:00 left"] * 3,
        "publishing · student · losses: dice 0.250 · 100%",
    ]
    assert EVERY == 10


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    told = io.StringIO()
    bar = TrainingBar(Console(file=told, force_terminal=True, width=120))
    bar(_at(1, 100))
    bar.stop()
    assert "25%" in told.getvalue()
    assert "0:05:00 left" in told.getvalue()


def test_a_narrow_terminal_cuts_losses_and_not_the_time_left() -> None:
    told = io.StringIO()
    bar = TrainingBar(Console(file=told, force_terminal=True, width=80))
    many = {f"a loss of kind {number}": 1.0 for number in range(9)}
    bar(_at(1, 100).model_copy(update={"losses": many}))
    bar.stop()
    assert "0:05:00 left training" in told.getvalue()
    assert "…" in told.getvalue()


@pytest.mark.parametrize(
    ("presses", "later", "wish"),
    [
        ([], 9, Wish.GO_ON),
        ([0], 1, Wish.GO_ON),
        ([0], 2.1, Wish.PAUSE),
        ([0, 1.5], 0, Wish.FINISH),
        ([0, 1.5], 60, Wish.FINISH),
    ],
)
def test_ctrl_c_pauses_and_twice_finishes(
    monkeypatch: pytest.MonkeyPatch, presses: list[float], later: float, wish: Wish
) -> None:
    clock, told = _Clock(monkeypatch), io.StringIO()
    ctrl_c = CtrlC(Console(file=told))
    before = signal.getsignal(signal.SIGINT)
    with ctrl_c.heeded():
        for moment in presses:
            clock.now = 1000 + moment
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    clock.now += later
    assert ctrl_c.wish() is wish
    assert len(told.getvalue().splitlines()) == len(presses)


@pytest.mark.parametrize("presses", [[0, 3], [0, 1, 1.5]])
def test_whoever_presses_on_ends_it_at_once(monkeypatch: pytest.MonkeyPatch, presses: list[float]) -> None:
    clock = _Clock(monkeypatch)
    *first, last = presses
    with CtrlC(Console(file=io.StringIO())).heeded():
        for moment in first:
            clock.now = 1000 + moment
            signal.raise_signal(signal.SIGINT)
        clock.now = 1000 + last
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
