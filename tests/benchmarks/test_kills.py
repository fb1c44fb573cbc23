"""Two kills of the benchmark's sixty: one anywhere, one at the switch to a new version."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY


@pytest.mark.long
def test_a_trainer_killed_goes_on_and_no_model_is_half_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks" / "server")
    import kills
    import switch

    for name in ("WSSEG_HOME", switch.TRAP, "PYTHONPATH"):  # put back when the test ends
        monkeypatch.setenv(name, os.environ.get(name, ""))
    rows = tmp_path / "kills.jsonl"
    monkeypatch.setattr(sys, "argv", ["kills.py", "--anywhere", "1", "--switch", "1", "--rows", str(rows)])
    for _ in range(2):  # the second time all is there
        with pytest.raises(SystemExit) as ended:
            kills.main()
        told = capsys.readouterr().out
        assert ended.value.code == 0, told
        assert "anywhere: 1 kills, 0 wrong" in told
        assert "at the switch: 1 kills, 0 wrong" in told
        assert "half-written files left: 0" in told
        assert len(rows.read_text("utf-8").splitlines()) == 2
