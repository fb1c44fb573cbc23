"""A part of the fuzz suite; ``python tests/fuzz/run.py`` is the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from formats import CHECKED, FORMATS


@pytest.mark.long
def test_damage_is_refused_or_cannot_be_told() -> None:
    run = Path(__file__).with_name("run.py")
    done = subprocess.run([sys.executable, run, "320"], capture_output=True, encoding="utf-8", timeout=300, check=True)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    assert [row[1] for row in rows] == list(FORMATS)
    for _, ending, *counts in rows:
        refused, equal, voxels, header, *hurt = map(int, counts)
        assert hurt == [0, 0, 0], f"{ending}: {done.stderr}"
        assert refused + equal + voxels + header == 320 // len(FORMATS)
        assert refused
        if ending in CHECKED:
            assert (voxels, header) == (0, 0), f"{ending} has a checksum"
