"""Two kills of the benchmark's sixty: one anywhere, one at the switch to a new version."""

from __future__ import annotations

import sys

import pytest

from conftest import REPOSITORY


@pytest.mark.long
def test_a_trainer_killed_goes_on_and_no_model_is_half_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    import kills

    monkeypatch.setenv("WSSEG_HOME", "")  # put back when the test ends
    monkeypatch.setattr(sys, "argv", ["kills.py", "--anywhere", "1", "--switch", "1"])
    with pytest.raises(SystemExit) as ended:
        kills.main()
    told = capsys.readouterr().out
    assert ended.value.code == 0, told
    assert "anywhere: 1 kills, 0 wrong" in told
    assert "at the switch: 1 kills, 0 wrong" in told
    assert "half-written files left: 0" in told
