"""Other contrasts: what a model of gliomas is worth where a tumour is not bright, which it is not told.

    python benchmarks/methods/contrast.py NAME... --data DIR [--given presence]

Dice over positive slices, mean per patient, of the same scans as they are and each changed in one
way. "Half of the scans" is what is to be expected where half of them, drawn at random, are changed
in one of these ways; part is of the plain figure. Intervals are a bootstrap over patients.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import interval
from numpy.typing import NDArray
from rich.progress import Progress

from wsseg.data.preprocess import View, prepare
from wsseg.evaluation.cases import Case, load_cases
from wsseg.evaluation.metrics import score_slices
from wsseg.images.volume import Volume
from wsseg.inference.segmenter import Segmenter

Change = Callable[[Volume, np.random.Generator], Volume]

DIMMED = (0.3, 0.6)
"""Least and most that a place loses of its intensity."""

SIZE = 128
"""Of slices that tissue is looked for in; any will do."""

WIDE_MM = (25.0, 50.0)
"""Standard deviations of such a place in mm."""


def plain(scan: Volume, rng: np.random.Generator) -> Volume:
    """As it is."""
    return scan


def inverted(scan: Volume, rng: np.random.Generator) -> Volume:
    """Bright is dark, air too."""
    return scan.like(scan.voxels.max() - scan.voxels.astype(np.float32))


def tissue_inverted(scan: Volume, rng: np.random.Generator) -> Volume:
    """Bright is dark in tissue, air stays black, as in other sequences."""
    return scan.like(np.where(_tissue(scan), 1.1 - _level(scan), 0).astype(np.float32))


def dimmed(scan: Volume, rng: np.random.Generator) -> Volume:
    """Dark around one place in the tissue, as far from a coil."""
    places = np.argwhere(_tissue(scan))
    middle = places[rng.integers(len(places))]
    axes = np.ogrid[tuple(slice(count) for count in scan.shape)]
    apart = [np.square((axis - m) * step) for axis, m, step in zip(axes, middle, scan.spacing, strict=True)]
    part = rng.uniform(*DIMMED) * np.exp(-sum(apart) / (2 * rng.uniform(*WIDE_MM) ** 2))
    return scan.like((scan.voxels * (1 - part)).astype(np.float32))


def curved(scan: Volume, rng: np.random.Generator) -> Volume:
    """A random monotone curve of the intensities."""
    return scan.like((_level(scan) ** np.exp(rng.uniform(-0.7, 0.7))).astype(np.float32))


CHANGES: tuple[Change, ...] = (inverted, tissue_inverted, dimmed, curved)


def _level(scan: Volume) -> NDArray[np.float32]:
    """Intensities from 0 to 1, the brightest thousandth cut off."""
    low, high = float(scan.voxels.min()), float(np.quantile(scan.voxels, 0.999))
    return np.clip((scan.voxels.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)


def _tissue(scan: Volume) -> NDArray[np.bool_]:
    stack = prepare(scan, View(SIZE))
    return stack.grid.join(stack.tissue)


def dice_per_patient(segmenter: Segmenter, cases: list[Case], change: Change, given: bool) -> list[float]:
    """Mean Dice over the positive slices of each case."""
    found = []
    for index, case in enumerate(cases):
        scan = change(case.scan, np.random.default_rng(index))
        result = segmenter(scan, case.presence if given else None)
        found.append(float(np.mean([score.dice for score in score_slices(case, result, 0)])))
    return found


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--given", choices=["nothing", "presence"], default="nothing")
    asked = parser.parse_args()
    with Progress() as bar:
        steps = [(name, change) for name in asked.model for change in (plain, *CHANGES)]
        scores = {}
        for name, change in bar.track(steps, description="segmenting"):
            segmenter = Segmenter(name)
            cases = load_cases(asked.data, segmenter.package.labels)
            scores[name, change] = dice_per_patient(segmenter, cases, change, asked.given == "presence")
    for name in asked.model:
        print(f"\n{name}, {asked.given} given\n\n| contrast | Dice | 95 % over patients | part |\n|---|---|---|---|")
        whole = np.array(scores[name, plain])
        changed = np.mean([scores[name, change] for change in CHANGES], axis=0)
        rows = {change.__name__.replace("_", " "): scores[name, change] for change in (plain, *CHANGES)}
        for what, dice in {**rows, "half of the scans": (whole + changed) / 2}.items():
            low, high = interval(dice)
            print(f"| {what} | {np.mean(dice):.3f} | {low:.3f} to {high:.3f} | {np.mean(dice) / whole.mean():.2f} |")


if __name__ == "__main__":
    main()
