"""Many viewers at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "server" / "load.py"


@pytest.mark.long
@pytest.mark.alone
def test_eight_viewers_for_half_a_minute(published: str, tmp_path: Path) -> None:
    """No error, /info/ under 0.2 s at the 99th percentile, memory flat."""
    command = (sys.executable, str(BENCHMARK), "--minutes", "0.5", "--model", published)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
