"""Damaged scans of every format through the reader, the command line and a live server, as a table.

usage: python tests/fuzz/run.py [READER COMMAND_LINE SERVER]     (2,400 200 200 inputs unless told)

Each row has a process of its own, which may take 4 GB of memory beyond what
its libraries need, and is ended and started again behind an input that takes over
10 s, or kills it; what a server takes beyond 2 GB counts too. "Different" is right only where neither a checksum nor
the header could tell: single voxels of formats without one.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from formats import FORMATS, WAYS

OUTCOMES = ("refused", "equal", "different, voxels hit", "different, header hit", "exception", "over 10 s", "over 2 GB")


def outcomes(way: str, count: int) -> dict[str, Counter[str]]:
    """Outcomes by format of so many inputs each."""
    lines: list[str] = []
    while len(lines) < count * len(FORMATS):
        command = [sys.executable, Path(__file__).with_name("worker.py"), way, str(len(lines)), str(count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=False)
        found = done.stdout.splitlines()
        if done.returncode > 0:
            raise SystemExit(f"{way}: the suite itself failed")
        lines += found
        if done.returncode:  # ended by the alarm, or killed by a fault
            outcome = "over 10 s" if done.returncode == -signal.SIGALRM else "exception"
            lines.append(f"{FORMATS[len(lines) // count]}\t{outcome}")
    split = [line.split("\t") for line in lines]
    return {ending: Counter(outcome for name, outcome in split if name == ending) for ending in FORMATS}


def main() -> None:
    """Print the table."""
    inputs = [int(given) for given in sys.argv[1:]] or [2400, 200, 200]
    print("| through | format | " + " | ".join(OUTCOMES) + " |\n|---|---|" + "---|" * len(OUTCOMES))
    for way, total in zip(WAYS, inputs, strict=False):
        if not total:
            continue
        for ending, found in outcomes(way, -(-total // len(FORMATS))).items():
            print(f"| {way} | {ending} | " + " | ".join(str(found[name]) for name in OUTCOMES) + " |", flush=True)


if __name__ == "__main__":
    main()
