"""How good a mask is, without a reference: predicted Dice of each class, and a bound that nine of ten scans keep.

Signs of a good mask are weighed by how much each of them tells of Dice on scans
that the model was not trained on; the bound is conformal, from how far predictions
were off on those scans when they were left out (Lei et al. 2018, arXiv 1604.04173).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsseg.images.pieces import extent
from wsseg.methods.shared.masks import UNLIKELY
from wsseg.models.calibration import Calibration, ClassCalibration

Floats = NDArray[np.float64]

SIGNS = ("expected", "steady", "continuous", "whole", "decided", "large", "fitting")
"""Of a good mask; each is greater where it is better:

- the Dice that the mask would have if the probabilities were right,
- how little it changes with the threshold,
- how alike it is from slice to slice,
- how much of it is one piece,
- how sure it is which slices show the class,
- how large it is,
- how well the scan fits the training scans.

Of an empty mask the first one is how sure the class is absent.
"""


def signs_of(
    maps: NDArray[np.float32], mask: NDArray[np.uint8], presence: NDArray[np.float32], voxel_ml: float, p: float
) -> Floats:
    """The signs of each class, (classes, signs).

    Args:
        maps: (slices, classes, rows, columns), probabilities where the slice shows the class.
        mask: (slices, rows, columns).
        presence: (slices, classes), probability that the slice does.
        voxel_ml: millilitres of a voxel.
        p: of the scan to fit.
    """
    found = []
    for k in range(maps.shape[1]):
        near = extent((maps[:, k] > UNLIKELY) | (mask == k + 1))
        probability, marked = maps[:, k][near] * presence[near[0], k, None, None], mask[near] == k + 1
        certain = float(np.abs(2 * presence[:, k] - 1).mean())
        ml = marked.sum() * voxel_ml
        fitting = float(np.log10(np.clip(p, 1e-4, 1)))
        shape = [_steady(probability), _continuous(marked), _whole(marked)] if ml else [1.0, 1.0, 1.0]
        found.append([expected_dice(probability, marked, presence[:, k]), *shape, certain, np.log1p(ml), fitting])
    return np.array(found)


def expected_dice(probability: NDArray[np.float32], marked: NDArray[np.bool_], presence: NDArray[np.float32]) -> float:
    """Dice of a class's mask if the probabilities were right, 2 sum_{mask} p / (|mask| + sum p).

    What is :data:`UNLIKELY` counts as 0: the sum of it over a large CT would be that of an organ.
    A class that is marked nowhere counts as sure as it is absent.

    Args:
        probability, marked: (slices, rows, columns).
        presence: (slices,), probability that the slice shows the class.
    """
    if not marked.any():
        return float(1 - presence.max())
    return float(2 * probability[marked].sum() / (marked.sum() + probability[probability > UNLIKELY].sum()))


def _steady(probability: NDArray[np.float32]) -> float:
    """Dice of the masks at a low and at a high threshold, of which one lies in the other."""
    strict, loose = int((probability > 0.7).sum()), int((probability > 0.3).sum())
    return 2 * strict / max(1, strict + loose)


def _continuous(marked: NDArray[np.bool_]) -> float:
    """Dice of every slice with the next one, over all at once."""
    both = int((marked[1:] & marked[:-1]).sum())
    return 2 * both / max(1, int(marked[1:].sum() + marked[:-1].sum()))


def _whole(marked: NDArray[np.bool_]) -> float:
    """Part of the mask that is its largest piece."""
    pieces, _ = ndimage.label(marked[extent(marked)])
    return float(np.bincount(pieces.ravel())[1:].max() / marked.sum())


@dataclass(frozen=True)
class PredictedDice:
    """What the Dice of one class's mask is expected to be.

    Attributes:
        value: in [0, 1]; of an empty mask, whose Dice is 0 or 1, the probability that the scan does not show the class.
        at_least: what it exceeds in nine of ten scans like this one; None where the
            model was compared with too few scans to say, and of an empty mask.
        of: what it is the agreement with, as in "masks".
        empty: whether nothing is marked.
    """

    value: float
    at_least: float | None
    of: str
    empty: bool = False

    def __str__(self) -> str:
        if self.empty:
            return f"nothing is marked, which is right with probability {self.value:.2f}"
        if self.at_least is None:
            return f"predicted Dice {self.value:.2f}, compared with {self.of} of too few scans for a bound"
        return f"predicted Dice {self.value:.2f}, >= {self.at_least:.2f} in nine of ten scans like this, of {self.of}"

    def facts(self) -> dict[str, Any]:
        """Ready for JSON."""
        at_least = None if self.at_least is None else round(self.at_least, 4)
        return {"value": round(self.value, 4), "at_least": at_least, "of": self.of, "sentence": f"{self}"}


def predicted_dice(
    signs: Floats, names: Sequence[str], calibration: Calibration | None, foreign: bool
) -> dict[str, PredictedDice]:
    """The predicted Dice of each class; none where nothing is known of scans like this.

    Args:
        signs: (classes, signs) of the mask.
        names: of the classes.
        calibration: of the model.
        foreign: the scan is unlike those that the calibration is from.
    """
    if calibration is None or foreign:
        return {}
    found = {}
    for name, own in zip(names, signs, strict=True):
        known = calibration.classes[name]
        if _is_empty(own):
            found[name] = PredictedDice(_absence(own, known, calibration.scans), None, calibration.of, empty=True)
            continue
        value = float(np.clip(known.dice + (own - known.signs) @ calibration.weights, 0, 1))
        at_least = None if known.below is None else float(np.clip(value - known.below, 0, value))
        found[name] = PredictedDice(value, at_least, calibration.of)
    return found


def _is_empty(signs: Floats) -> NDArray[np.bool_]:
    """Where the masks that signs (..., signs) are of mark nothing."""
    return np.asarray(signs[..., SIGNS.index("large")] == 0)


def _absence(signs: Floats, known: ClassCalibration, scans: int) -> float:
    """Probability that a scan does not show a class of which nothing is marked.

    As its slices have it, but that a class is hardly absent which all the scans show that the model was
    compared on: odds times the prior odds of it (rule of succession).
    """
    absent = float(signs[SIGNS.index("expected")])
    prior = (scans * (1 - known.shown) + 1) / (scans + 2)
    return absent * prior / (absent * prior + (1 - absent) * (1 - prior))


COVERED = 0.9
"""Part of the scans that keep the bound."""

BELIEVED = 30.0
"""Masks that "Dice is what the probabilities promise, and no other sign counts" is believed as much as: of few scans
seven signs would be weighed at random. Chosen on the shipped models' scans; 10 to 100 rank them alike."""


@dataclass(frozen=True)
class Learned:
    """How Dice is predicted from signs.

    Attributes:
        weights: (signs,).
        classes: in order.
        left_out: (scans, classes), predicted for each scan when it was left out.
        order: (scans, classes), the same with the means of all scans, which are the
            same for each and rank none: without a scan its own Dice would lower
            what is predicted for the better ones. NaN for empty masks, as in ``left_out``.
    """

    weights: Floats
    classes: list[ClassCalibration]
    left_out: Floats
    order: Floats


def learn_quality(signs: Floats, dice: Floats, patients: Sequence[str]) -> Learned:
    """Learn to predict Dice; all scans of a patient are left out together.

    Empty masks teach nothing: their Dice is 0 or not known, and their signs mean something else.

    Args:
        signs: (scans, classes, signs).
        dice: (scans, classes), NaN where it is not known.
        patients: whose scans they are.
    """
    empty = _is_empty(signs)
    dice = np.where(empty, np.nan, dice)
    owner = np.array(patients)
    weights, mean, usual = _regression(signs, dice)
    left_out, order = (np.full(dice.shape, np.nan) for _ in range(2))
    for patient in dict.fromkeys(patients):
        own = owner == patient
        if own.all():
            break
        theirs, their_mean, their_usual = _regression(signs[~own], dice[~own])
        left_out[own] = np.clip(their_usual + (signs[own] - their_mean) @ theirs, 0, 1)
        order[own] = usual + (signs[own] - mean) @ theirs
    left_out[empty] = order[empty] = np.nan
    below = [_bound(column) for column in (left_out - dice).T]
    classes = [
        ClassCalibration(
            dice=float(usual[k]),
            signs=tuple(map(float, mean[k])),
            below=below[k],
            ranked=rank_correlation(order[:, k], dice[:, k]),
        )
        for k in range(dice.shape[1])
    ]
    return Learned(weights, classes, left_out, order)


def _regression(signs: Floats, dice: Floats) -> tuple[Floats, Floats, Floats]:
    """Weights that are not negative, for all classes alike; means of signs (classes, signs) and Dice (classes,).

    Ridge regression whose weights are drawn to those of the first sign alone, as it is.
    """
    from scipy.optimize import nnls  # only learning needs it, and it takes its time to load

    known = np.isfinite(dice)
    count = np.maximum(known.sum(axis=0), 1)
    usual = np.where(known, dice, 0).sum(axis=0) / count
    mean = np.where(known[..., None], signs, 0).sum(axis=0) / count[:, None]
    rows, target = (signs - mean)[known], (dice - usual)[known]
    promised = np.eye(signs.shape[2])[0]
    if not len(rows):
        return promised, mean, usual
    scale = rows.std(axis=0) + 1e-6
    belief = np.sqrt(BELIEVED) * np.eye(signs.shape[2])
    weights, _ = nnls(np.vstack([rows / scale, belief]), np.concatenate([target, belief @ (promised * scale)]))
    return weights / scale, mean, usual


def _bound(excess: Floats) -> float | None:
    """How far predictions exceed what they predict in all but one of ten; None of too few to tell."""
    known = np.sort(excess[np.isfinite(excess)])
    rank = int(np.ceil((len(known) + 1) * COVERED))
    return float(known[rank - 1]) if rank <= len(known) else None


RANKED = 5
"""Masks whose order says something; three are in the right one every sixth time by chance."""


def rank_correlation(predicted: Floats, dice: Floats) -> float | None:
    """Spearman's, where both are known; None of fewer than :data:`RANKED` or where all are alike."""
    from scipy.stats import spearmanr  # loading it takes a second, which predicting need not wait for

    known = np.isfinite(predicted) & np.isfinite(dice)
    if known.sum() < RANKED or not np.ptp(predicted[known]) or not np.ptp(dice[known]):
        return None
    return float(spearmanr(predicted[known], dice[known]).statistic)
