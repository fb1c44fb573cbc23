"""Damaged files of every format through the reader, as a table.

usage: python tests/fuzz/run.py [INPUTS]     (2,100 unless told)

Each format has a process of its own, which may take 2 GB of memory beyond
what its libraries need. "Accepted and different" is right only where neither a
checksum nor the header could tell: single voxels of formats without one.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from mutants import mutants, originals

OUTCOMES = ("refused", "equal", "different", "exception", "over 10 s", "over 2 GB")


def try_all(ending: str, count: int) -> Counter[str]:
    """What the reader makes of damaged files of one format; runs in a process of its own."""
    from wsseg.errors import WssegError
    from wsseg.images.scan import read_scan

    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"scan{ending}"
        original = originals(Path(folder))[ending]
        path.write_bytes(original)
        sound = read_scan(path)
        seed = sorted(originals(Path(folder))).index(ending)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for damaged in mutants(original, seed, count):
            path.write_bytes(damaged)
            started = time.perf_counter()
            try:
                found = read_scan(path)
                same = np.array_equal(found.voxels, sound.voxels) and np.array_equal(found.affine, sound.affine)
                outcome = "equal" if same else "different"
            except WssegError:
                outcome = "refused"
            except Exception as error:
                print(f"{ending}: {type(error).__name__}: {error}", file=sys.stderr)
                outcome = "exception"
            if time.perf_counter() - started > 10:
                outcome = "over 10 s"
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            outcomes["over 2 GB" if peak - used > 2 << 20 else outcome] += 1
    return outcomes


def table(inputs: int) -> dict[str, Counter[str]]:
    """Outcomes by format; a process that dies counts as an exception of all its inputs."""
    with tempfile.TemporaryDirectory() as folder:
        endings = list(originals(Path(folder)))
    found = {}
    for ending in endings:
        count = -(-inputs // len(endings))
        command = [sys.executable, __file__, ending, str(count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60 + 10 * count, check=False)
        found[ending] = Counter(json.loads(done.stdout)) if done.returncode == 0 else Counter(exception=count)
    return found


def main() -> None:
    """Print the table, or as a worker one format's outcomes."""
    if len(sys.argv) == 3:
        print(json.dumps(try_all(sys.argv[1], int(sys.argv[2]))))
        return
    rows = table(int(sys.argv[1]) if len(sys.argv) > 1 else 2100)
    print("| format | " + " | ".join(OUTCOMES) + " |\n|---|" + "---|" * len(OUTCOMES))
    for ending, outcomes in rows.items():
        print(f"| {ending} | " + " | ".join(str(outcomes[name]) for name in OUTCOMES) + " |")


if __name__ == "__main__":
    main()
