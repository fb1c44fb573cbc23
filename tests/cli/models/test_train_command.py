"""How `wsseg train` tells how far it is, and what Ctrl-C means to it."""

from __future__ import annotations

import io
import signal
import sys

import pytest
from rich.console import Console

from wsseg.cli import main
from wsseg.cli.models.training import CtrlC, TrainingBar
from wsseg.cli.progress import EVERY
from wsseg.training.progress import PausedError, Phase, TrainingProgress, Wish


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
    published = _at(399, 100).model_copy(update={"phase": Phase.PUBLISHING, "seconds_left": None})
    bar(published)
    clock.now += 20
    bar(published.model_copy(update={"prepared": 0.25}))
    bar.stop()
    assert told.getvalue().splitlines() == [
        "reading scans · 50%",
        *["training · student · losses: dice 0.250 · 25% · 0:05:00 left"] * 3,
        "publishing · 0%",
        "publishing · 25% · 0:01:00 left",
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


def test_a_paused_run_is_no_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """But neither is it done: what a script has after it does not follow."""

    def paused(*given: object, **named: object) -> None:
        raise PausedError("paused after 7 of 40 steps; started again, training goes on")

    monkeypatch.setattr("wsseg.training.run.train_package", paused)
    monkeypatch.setattr(sys, "argv", ["wsseg", "train", "union-abdomen-mr", "--data", "."])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.splitlines() == ["paused after 7 of 40 steps; started again, training goes on"]


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
