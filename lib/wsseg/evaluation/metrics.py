"""Dice and Hausdorff distance of a mask against its reference, by slice and by volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsseg.evaluation.cases import Case
from wsseg.inference.result import Segmentation


@dataclass(frozen=True)
class SliceScore:
    """One positive slice of one class under one seed; ``slice`` counts as stored."""

    seed: int
    case: str
    label: str
    slice: int
    dice: float
    hd95_mm: float


@dataclass(frozen=True)
class VolumeScore:
    """One class of one scan under one seed; ``predicted`` is its Dice as the model, else its probabilities, have it."""

    seed: int
    case: str
    label: str
    dice: float
    hd95_mm: float
    predicted: float
    seconds: float


def score_slices(case: Case, result: Segmentation, seed: int) -> list[SliceScore]:
    """Dice and HD95 of every positive slice of every class."""
    grid = result.grid
    spacing = [case.scan.spacing[axis] for axis in grid.plane_axes]
    scores = []
    for name, value in result.labels.values().items():
        predicted, truth = grid.cut(result.mask.voxels) == value, grid.cut(case.reference) == value
        for index in np.flatnonzero(truth.any(axis=(1, 2))):
            dice, distance = dice_of(predicted[index], truth[index]), hd95_of(predicted[index], truth[index], spacing)
            scores.append(SliceScore(seed, case.name, name, grid.stored(int(index), len(truth)), dice, distance))
    return scores


def score_volume(case: Case, result: Segmentation, seed: int, seconds: float) -> list[VolumeScore]:
    """3-D Dice and HD95 of every class; 1 and 0 mm where neither mask nor reference shows it."""
    scores = []
    for (name, value), signs in zip(result.labels.values().items(), result.signs, strict=True):
        found, truth = result.mask.voxels == value, case.reference == value
        distance = hd95_of(found, truth, list(case.scan.spacing))
        predicted = result.predicted_dice[name].value if result.predicted_dice else float(signs[0])
        scores.append(VolumeScore(seed, case.name, name, dice_of(found, truth), distance, predicted, seconds))
    return scores


def dice_of(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    total = int(predicted.sum() + truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0


def hd95_of(predicted: NDArray[np.bool_], truth: NDArray[np.bool_], spacing: list[float]) -> float:
    """95 % Hausdorff distance in mm, in-plane or 3-D; the image diagonal where one of the two is empty."""
    if not predicted.any() and not truth.any():
        return 0.0
    if not predicted.any() or not truth.any():
        return float(np.linalg.norm(np.array(truth.shape) * spacing))
    from monai.metrics.utils import get_mask_edges, get_surface_distance  # loading MONAI takes seconds

    # The steps of MONAI's compute_hausdorff_distance, whose 1.6 warns of its own deprecated argument at every call.
    one, other = get_mask_edges(*(torch.from_numpy(mask.astype(np.float32)) for mask in (predicted, truth)))
    there, back = (get_surface_distance(*pair, spacing=spacing) for pair in ((one, other), (other, one)))
    return max(float(torch.quantile(distances, 0.95)) for distances in (there, back))
