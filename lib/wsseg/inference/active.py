"""Which scan to label next, and which of its slices, from what a model says of scans that nobody has labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wsseg.inference.quality.fits import Fits

Floats = NDArray[np.floating]

SLICES = 4
"""Slices of one scan that are worth labelling at a time: others of it teach less than another patient's."""


SMALL = 0.005
"""Part of a slice that speaks as much for a finding as against it, if a mask marks so much."""


@dataclass(frozen=True)
class ScanSummary:
    """What a model says of one scan.

    Attributes:
        presence: (classes, slices) in [0, 1], probability that the slice shows the class.
        features: (features,) what the scan looks like, the same length for all scans of a model.
        areas: (classes, slices) in [0, 1], the part of the slice that the mask
            marks; None where none was made.
        fits: whether the scan is of the kind that the model was trained on; None
            where that is not known.
        certainty: how far the mask may be believed, in [0, 1], by its predicted
            Dice and by ``fits``; None where no mask was made.
    """

    presence: Floats
    features: Floats
    areas: Floats | None = None
    fits: Fits | None = None
    certainty: float | None = None


Doubt = Callable[[ScanSummary], Floats]
"""How doubtful each slice of a scan is, (slices,) in [0, 1]."""

Score = Callable[[Sequence[ScanSummary], Sequence[ScanSummary]], Floats]
"""How much labelling each candidate would help, beside those that are labelled; only the order counts."""


def scan_features(images: Tensor) -> Floats:
    """What a scan (slices, channels, size, size) looks like: its mean slice in 8 x 8 pixels, (channels * 64,)."""
    found: Floats = functional.adaptive_avg_pool2d(images.mean(dim=0), 8).flatten().numpy()
    return found


def uncertainty(summary: ScanSummary) -> Floats:
    """Entropy of presence in bits, -p log p - (1 - p) log (1 - p), mean over classes."""
    p = np.clip(summary.presence.astype(np.float64), 1e-9, 1 - 1e-9)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).mean(axis=0)


def disagreement(summary: ScanSummary) -> Floats:
    """|presence - area / (area + SMALL)|, mean over classes.

    Greatest where the slice is said to show a class of which the mask finds nothing.

    Raises:
        ValueError: no mask was made.
    """
    if summary.areas is None:
        raise ValueError("disagreement needs the areas that a mask marks")
    return np.abs(summary.presence - summary.areas / (summary.areas + SMALL)).mean(axis=0)


def worth_labelling(doubt: Floats) -> NDArray[np.intp]:
    """The :data:`SLICES` most doubtful slices, in their order; of equals the first."""
    return np.sort(np.argsort(-doubt, kind="stable")[:SLICES])


def by_doubt(doubt: Doubt) -> Score:
    """Scans whose slices worth labelling are the most doubtful."""

    def score(candidates: Sequence[ScanSummary], labelled: Sequence[ScanSummary]) -> Floats:
        slices = [doubt(summary) for summary in candidates]
        return np.array([each[worth_labelling(each)].mean() for each in slices])

    return score


def by_novelty(candidates: Sequence[ScanSummary], labelled: Sequence[ScanSummary]) -> Floats:
    """Scans that are unlike the labelled ones: distance of features to the nearest, all scaled to unit variance.

    Chosen one after the other, this is greedy k-center. Without a labelled scan
    all are equally new.
    """
    if not labelled:
        return np.ones(len(candidates))
    own, known = (np.stack([summary.features for summary in summaries]) for summaries in (candidates, labelled))
    scale = np.concatenate([own, known]).std(axis=0) + 1e-6
    return np.linalg.norm((own[:, None] - known[None]) / scale, axis=2).min(axis=1)


def by_both(doubt: Doubt) -> Score:
    """Doubt times novelty: doubtful scans, but not the same doubt again and again."""
    doubtful = by_doubt(doubt)
    return lambda candidates, labelled: doubtful(candidates, labelled) * by_novelty(candidates, labelled)


def by_poor_mask(doubt: Doubt) -> Score:
    """Doubt times what certainty of the mask lacks of 1: contradictions in masks that are expected to be bad."""
    doubtful = by_doubt(doubt)

    def score(candidates: Sequence[ScanSummary], labelled: Sequence[ScanSummary]) -> Floats:
        lacking = np.array([1.0 if each.certainty is None else 1 - each.certainty for each in candidates])
        return doubtful(candidates, labelled) * lacking

    return score


def choose(
    candidates: Mapping[str, ScanSummary], labelled: Sequence[ScanSummary], score: Score, count: int = 1
) -> list[str]:
    """Names of the scans to label next, the best first; of equals the first by name.

    What is chosen counts as labelled for those that are chosen after it.
    """
    left, known = sorted(candidates), list(labelled)
    chosen: list[str] = []
    while left and len(chosen) < count:
        best = left.pop(int(np.argmax(score([candidates[name] for name in left], known))))
        known.append(candidates[best])
        chosen.append(best)
    return chosen
