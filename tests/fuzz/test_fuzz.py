"""A part of the fuzz suite; ``python tests/fuzz/run.py`` is the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_damage_is_refused_or_cannot_be_told() -> None:
    run = Path(__file__).with_name("run.py")
    done = subprocess.run([sys.executable, run, "350"], capture_output=True, text=True, timeout=300, check=True)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 7
    for ending, *counts in rows:
        refused, equal, different, *hurt = map(int, counts)
        assert hurt == [0, 0, 0], f"{ending}: {done.stderr}"
        assert refused + equal + different == 50
        if ending in (".nii.gz", ".packed.nrrd", ".png"):
            assert different == 0, f"{ending} has a checksum"
    assert done.stderr == "", "libraries add nothing to the sentences"
