"""Single nuclei out of a mask, and how well they are met."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import h_maxima
from skimage.segmentation import watershed

from wsseg.evaluation.cases import Case
from wsseg.inference.result import Segmentation

NARROWER = 1.0
"""Pixels by which a neck must be nearer to the ground than the middles it joins, so that it parts two nuclei."""

SMOOTH = 1.5
"""Sigma in pixels by which distances are smoothed, so that a rough border splits nothing."""

LEAST = 20
"""Pixels of the smallest nucleus; less is a speck."""


@dataclass(frozen=True)
class NucleiScore:
    """One class of one picture under one seed: AJI, and how many nuclei were found and there are."""

    seed: int
    case: str
    label: str
    aji: float
    found: int
    true: int


def score_nuclei(case: Case, result: Segmentation, seed: int) -> list[NucleiScore]:
    """Of every class of a picture; mask and reference are parted alike."""
    scores = []
    for name, value in result.labels.values().items():
        found, true = (split_nuclei(mask[:, :, 0] == value) for mask in (result.mask.voxels, case.reference))
        scores.append(
            NucleiScore(seed, case.name, name, aggregated_jaccard(found, true), int(found.max()), int(true.max()))
        )
    return scores


def split_nuclei(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number the nuclei of a mask (rows, columns); those that touch part where they are narrow.

    A watershed on the distance to the ground, from its peaks.

    Returns:
        (rows, columns), 0 the ground, 1 to N the nuclei.
    """
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), SMOOTH) * mask
    middles, _ = ndimage.label(h_maxima(distance, NARROWER), np.ones((3, 3)))
    found = watershed(-distance, middles, mask=mask)
    large = np.bincount(found.ravel()) >= LEAST
    large[0] = False
    return _renumbered(np.where(large[found], found, 0))


def aggregated_jaccard(found: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """AJI (Kumar et al. 2017): pixels that matched nuclei share, of those that they and all unmatched ones cover.

    Each true nucleus is matched with the found one of greatest Jaccard index,
    which several may share, as in the paper; 1 where there is none of either.

    Args:
        found, truth: (rows, columns), 0 the ground, 1 to N the nuclei.
    """
    shared = _overlaps(found, truth)
    own, true = shared.sum(axis=1), shared.sum(axis=0)
    common, covered, used = 0, 0, np.zeros(len(shared), np.bool_)
    for nucleus in range(1, shared.shape[1]):
        overlap = shared[1:, nucleus]
        if not overlap.any():
            covered += int(true[nucleus])
            continue
        union = own[1:] + true[nucleus] - overlap
        best = int(np.argmax(overlap / union))
        common, covered = common + int(overlap[best]), covered + int(union[best])
        used[best + 1] = True
    covered += int(own[1:][~used[1:]].sum())
    return common / covered if covered else 1.0


def _overlaps(found: NDArray[np.integer], truth: NDArray[np.integer]) -> NDArray[np.int64]:
    """Pixels that each pair shares, (found + 1, true + 1)."""
    columns = int(truth.max()) + 1
    pairs = found.astype(np.int64).ravel() * columns + truth.ravel()
    return np.bincount(pairs, minlength=(int(found.max()) + 1) * columns).reshape(-1, columns)


def _renumbered(numbers: NDArray[np.integer]) -> NDArray[np.int32]:
    """1 to N without gaps, 0 stays."""
    _, order = np.unique(np.append(numbers.ravel(), 0), return_inverse=True)
    return order[:-1].reshape(numbers.shape).astype(np.int32)
