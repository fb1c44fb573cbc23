"""How well a model predicts the Dice of its masks, whether the bound holds, and whether doubt means what it says.

    python benchmarks/quality.py --data DIR [--model NAME] [--splits 200]

DIR holds scans with masks that the model was not trained on. Predictions and the
calibration of doubt are of each patient when he was left out. The bound is tried on
random splits: learned from three of four patients, kept or not by the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import spearmanr

from wsseg.data.slices import patient_of
from wsseg.inference import doubt
from wsseg.inference.quality import learn_quality
from wsseg.inference.segmenter import Segmenter
from wsseg.training.calibrate import Compared, compare

Floats = NDArray[np.float64]


def main() -> None:
    """Print a table, one row for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="cldf-glioma-flair")
    parser.add_argument("--splits", type=int, default=200)
    asked = parser.parse_args()
    found = compare(Segmenter(asked.model, calibrated=False), asked.data)
    signs, dice = (np.stack([getattr(each, name) for each in found.values()]) for name in ("signs", "dice"))
    patients = [patient_of(case) for case in found]
    learned = learn_quality(signs, dice, patients)
    known = np.isfinite(dice)
    kept, loss = coverage(signs, dice, patients, asked.splits)
    plain, better = errors_of_doubt(found, patients)
    print(f"{asked.model}: {len(found)} scans of {len(set(patients))} patients\n\n| what | value |\n|---|---|")
    for what, values in (("predicted", learned.left_out), ("what probabilities promise", signs[..., 0])):
        print(f"| rank correlation with Dice, {what} | {spearmanr(values[known], dice[known]).statistic:.3f} |")
    print(f"| scans that keep the bound, {asked.splits} splits | {kept:.1%} |")
    print(f"| the bound below Dice, mean | {loss:.3f} |")
    print(f"| ECE of doubt, plain | {plain:.3f} |\n| ECE of doubt, calibrated | {better:.3f} |")


def coverage(signs: Floats, dice: Floats, patients: Sequence[str], splits: int) -> tuple[float, float]:
    """Part of the classes of scans that keep a bound learned elsewhere, and how far it lies below their Dice."""
    rng, names = np.random.default_rng(0), np.array(sorted(set(patients)))
    kept, below = [], []
    for _ in track(range(splits), "splitting", transient=True):
        own = np.isin(patients, rng.permutation(names)[: round(0.75 * len(names))])
        learned = learn_quality(signs[own], dice[own], [p for p, inside in zip(patients, own, strict=True) if inside])
        for k, known in enumerate(learned.classes):
            if known.below is None:
                continue
            predicted = np.clip(known.dice + (signs[~own, k] - known.signs) @ learned.weights, 0, 1)
            excess = dice[~own, k] - np.clip(predicted - known.below, 0, predicted)
            kept += list(excess[np.isfinite(excess)] >= 0)
            below += list(excess[np.isfinite(excess)])
    return float(np.mean(kept)), float(np.mean(below))


def errors_of_doubt(found: dict[str, Compared], patients: Sequence[str]) -> tuple[float, float]:
    """Expected calibration error, mean over scans: of plain doubt, and calibrated on the other patients."""
    plain, better = [], []
    for each, patient in zip(found.values(), patients, strict=True):
        others = (one.counts for one, whose in zip(found.values(), patients, strict=True) if whose != patient)
        levels = doubt.calibrated(*doubt.fit(sum(others, doubt.NONE)))
        plain.append(doubt.calibration_error(each.counts, doubt.PLAIN))
        better.append(doubt.calibration_error(each.counts, levels))
    return float(np.mean(plain)), float(np.mean(better))


if __name__ == "__main__":
    main()
