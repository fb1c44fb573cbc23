"""Whether each model tells scans of its own kind from others.

    python benchmarks/quality/fits.py --data DIR [--each 6] [--models NAME,...]

DIR holds ``lgg``, ``acdc``, ``monuseg`` and others, each with ``train`` and ``val``.
Of every model's own kind the scans of ``val`` are looked at; of
every other set so many; and so many of its own, spoilt in every way of
``foreign.py``. A scan that is refused counts as flagged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np
from foreign import SPOILT, SPOILT_PICTURES
from rich.console import Console
from rich.progress import track

from wsseg.errors import WssegError
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.images.volume import Volume
from wsseg.inference.segmenter import Segmenter

SETS = {
    "cldf-glioma-flair": "lgg",
    "cdm-glioma-flair": "lgg",
    "cam-glioma-flair": "lgg",
    "pclmix-cardiac-cine": "acdc",
    "union-heart-cine": "acdc",
    "union-abdomen-mr": "abdomen_t2",
    "union-headneck-ct": "headneck_ct",
    "textdiff-nuclei-he": "monuseg",
}
"""What each model was trained on, the part ``train`` of it."""


def main() -> None:
    """Print a table, one row for each model and kind of scan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--models", default=",".join(SETS))
    asked = parser.parse_args()
    print("| model | scans | flagged | p | ms a scan |\n|---|---|---|---|---|")
    for model in asked.models.split(","):
        segmenter = Segmenter(model, "cpu")
        own = list(scan_files(asked.data / SETS[model] / "val").values())
        if not own:
            raise WssegError(f"{asked.data / SETS[model] / 'val'}: no scan of the kind of {model}")
        _row(model, f"own, not trained on ({SETS[model]})", segmenter, map(read_scan, own))
        for other in sorted(folder.name for folder in asked.data.iterdir() if (folder / "val").is_dir()):
            if other != SETS[model]:
                files = chain(*(scan_files(asked.data / other / part).values() for part in ("val", "train")))
                _row(model, other, segmenter, map(read_scan, islice(files, asked.each)))
        for spoil in SPOILT_PICTURES if segmenter.package.recipe.colour else SPOILT:
            rng = np.random.default_rng(0)
            spoilt = (spoil(read_scan(file), rng) for file in own[: asked.each])
            _row(model, f"own, {spoil.__name__.replace('_', ' ')}", segmenter, spoilt)


def _row(model: str, what: str, segmenter: Segmenter, scans: Iterator[Volume]) -> None:
    flagged, total, found, took = 0, 0, [], []
    for scan in track(scans, what, transient=True, console=Console(stderr=True)):
        total += 1
        started = time.process_time()
        try:
            fits = segmenter.fits(scan)
        except WssegError:
            flagged += 1
            continue
        took.append(time.process_time() - started)
        if fits is None:
            raise WssegError(f"{model}: does not know what it was trained on, `wsseg describe` tells it")
        flagged += fits.doubtful
        found.append(fits.p)
    p = f"{min(found):.1g} to {max(found):.1g}" if found else "refused"
    milliseconds = f"{1000 * np.mean(took):.0f}" if took else ""
    print(f"| {model} | {what} | {flagged} of {total} | {p} | {milliseconds} |", flush=True)


if __name__ == "__main__":
    main()
