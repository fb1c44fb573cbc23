"""How well a model predicts the Dice of its masks, whether the bound holds, and whether doubt means what it says.

    python benchmarks/quality/quality.py --data DIR [--model NAME] [--splits 200]

DIR holds scans with masks that the model was not trained on. Empty masks, of which the
product says how probably they are right, take no part. Weights of predictions and the
calibration of doubt are from the other patients. The bound is tried on
random splits: learned from three of four patients, kept or not by the rest.
Intervals are of 95 %, over patients drawn with replacement.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsseg.data.slices import patient_of
from wsseg.inference.quality import doubt
from wsseg.inference.quality.dice import learn_quality, rank_correlation
from wsseg.inference.segmenter import Segmenter
from wsseg.training.assessment.calibrate import Compared, compare, doubt_of

Floats = NDArray[np.float64]

DRAWS = 1000
"""Of patients, for an interval."""


def main() -> None:
    """Print a table, one row for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="cldf-glioma-flair")
    parser.add_argument("--splits", type=int, default=200)
    asked = parser.parse_args()
    segmenter = Segmenter(asked.model, calibrated=False)
    report(asked.model, compare(segmenter, asked.data), segmenter.package.labels.names, asked.splits)


def report(model: str, found: dict[str, Compared], names: Sequence[str], splits: int) -> None:
    """Print what scans that were compared with their masks tell."""
    signs, dice = (np.stack([getattr(each, name) for each in found.values()]) for name in ("signs", "dice"))
    patients = [patient_of(case) for case in found]
    order = learn_quality(signs, dice, patients).order
    print(f"{model}: {len(found)} scans of {len(set(patients))} patients\n\n| what | value | 95 % |\n|---|---|---|")
    for what, values in (("predicted", order), ("what probabilities promise", signs[..., 0])):
        for k, name in enumerate(names):
            _row(f"rank correlation with Dice, {name}, {what}", _ranked(values[:, k], dice[:, k]), patients)
        if len(names) > 1:
            _row(f"the same, means over classes, {what}", _ranked(values.mean(axis=1), dice.mean(axis=1)), patients)
    kept, below = coverage(signs, dice, patients, splits)
    print(f"| scans that keep the bound, {splits} splits | {kept.mean():.1%} | {_ends(kept, '.0%')} of a split |")
    print(f"| the bound below Dice, mean | {below.mean():.3f} | |")
    counts = sum((each.counts for each in found.values()), doubt.NONE)
    print(f"| ECE of doubt, plain | {doubt.calibration_error(counts):.3f} | |")
    print(
        f"| ECE of doubt, calibrated on other patients | {doubt.calibration_error(doubt_of(found, patients)):.3f} | |"
    )


def _ranked(values: Floats, dice: Floats) -> Callable[[NDArray[np.intp]], float]:
    """Of chosen scans the rank correlation of predicted and true Dice; NaN where there is none."""

    def of(chosen: NDArray[np.intp]) -> float:
        found = rank_correlation(values[chosen], dice[chosen])
        return np.nan if found is None else found

    return of


def _row(what: str, figure: Callable[[NDArray[np.intp]], float], patients: Sequence[str]) -> None:
    rng, owner = np.random.default_rng(0), np.array(patients)
    names = np.unique(owner)
    draws = [
        figure(np.concatenate([np.flatnonzero(owner == name) for name in rng.choice(names, len(names))]))
        for _ in range(DRAWS)
    ]
    print(f"| {what} | {figure(np.arange(len(owner))):.2f} | {_ends(np.array(draws), '.2f')} |")


def _ends(values: Floats, form: str) -> str:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{low:{form}} to {high:{form}}"


def coverage(signs: Floats, dice: Floats, patients: Sequence[str], splits: int) -> tuple[Floats, Floats]:
    """Of each split the part of scans that keep a bound learned elsewhere, and how far below Dice it lies."""
    rng, names = np.random.default_rng(0), np.array(sorted(set(patients)))
    kept, below = [], []
    for _ in range(splits):
        own = np.isin(patients, rng.permutation(names)[: round(0.75 * len(names))])
        learned = learn_quality(signs[own], dice[own], [p for p, inside in zip(patients, own, strict=True) if inside])
        excess = []
        for k, known in enumerate(learned.classes):
            if known.below is None:
                continue
            predicted = np.clip(known.dice + (signs[~own, k] - known.signs) @ learned.weights, 0, 1)
            excess += list(dice[~own, k] - np.clip(predicted - known.below, 0, predicted))
        known_excess = np.array(excess)[np.isfinite(excess)]
        kept.append(float((known_excess >= 0).mean()) if len(known_excess) else np.nan)
        below.append(float(known_excess.mean()) if len(known_excess) else np.nan)
    kept_, below_ = np.array(kept), np.array(below)
    return kept_[np.isfinite(kept_)], below_[np.isfinite(below_)]


if __name__ == "__main__":
    main()
