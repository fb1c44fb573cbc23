"""What it costs to tell whether a scan fits and how good its mask is, in parts of a prediction's CPU seconds.

python benchmarks/quality/cost.py --data DIR [--model NAME] [--scans 5]
"""

from __future__ import annotations

import argparse
import cProfile
import time
from pathlib import Path
from types import FunctionType

from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference.quality.dice import predicted_dice, signs_of
from wsseg.inference.quality.fits import judge
from wsseg.inference.quality.look import look_at
from wsseg.inference.segmenter import Segmenter

FITS, DICE = (look_at, judge), (signs_of, predicted_dice)


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="cldf-glioma-flair")
    parser.add_argument("--scans", type=int, default=5)
    asked = parser.parse_args()
    segmenter = Segmenter(asked.model)
    first, *scans = [read_scan(file) for file in list(scan_files(asked.data).values())[: asked.scans + 1]]
    segmenter(first)  # the first call of a process is slower
    watched = cProfile.Profile(time.process_time)
    watched.enable()
    for scan in scans:
        segmenter(scan)
    watched.disable()
    whole, fits, dice = (_seconds(watched, *functions) for functions in ((Segmenter.__call__,), FITS, DICE))
    print("| model | scans | CPU seconds | whether it fits | predicted Dice |\n|---|---|---|---|---|")
    print(f"| {asked.model} | {len(scans)} | {whole / len(scans):.2f} | {fits / whole:.1%} | {dice / whole:.1%} |")


def _seconds(watched: cProfile.Profile, *functions: FunctionType) -> float:
    """CPU seconds in functions and what they call."""
    found = {entry.code: entry.totaltime for entry in watched.getstats()}
    return sum(found[function.__code__] for function in functions)


if __name__ == "__main__":
    main()
