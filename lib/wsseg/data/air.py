"""What surrounds the body in a scan of no known unit: air of any level, constant or noisy, and padding around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FRAME = 3
"""Pixels from the border of a slice, padding left out, that show whether there is air."""

SHARE = 0.25
"""Part of the frame that is of one level where there is air; organs that reach the border share none."""

DARK = 0.15
"""Level, in parts of the scan's range, up to which what frames a slice is air if it is of one level.

Brighter air is told from tissue by its flatness.
"""

FLAT = 0.5
"""Noise of such air, in parts of the tissue's; a magnitude image has 0.66 times as much where nothing is."""

MANY, DEVIATIONS = 0.8, 1.2816
"""That part of a normal distribution is so many deviations from its mean at most. Half of the air may be of the
very level that a scanner or a file puts around a slice, which is not how noisy the rest is."""

NOISE = 0.2
"""Level, in parts of the scan's range, below which noise stays after smoothing."""

ALL_ROUND, SPECK = 0.99, 0.1
"""Part of the frame that is so dark where air is all round; part above the usual level that is more than specks."""

LEAST, MOST = 0.01, 0.05
"""Parts of the range by which air may differ from its usual level, after smoothing."""


def without_padding(slices: NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns of a scan (slices, rows, columns) without those around it that are of one value throughout."""
    shown = (slices != slices[0, 0, 0]).any(axis=0)
    return _extent(shown.any(axis=1)), _extent(shown.any(axis=0))


def _extent(shown: NDArray[np.bool_]) -> slice:
    found = np.flatnonzero(shown)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, len(shown))


def find_air(level: NDArray[np.float32], usual: float) -> tuple[NDArray[np.bool_], float]:
    """Where there is air, pixels of one level that reach the border of their slice; and the level that tissue exceeds.

    Args:
        level: (slices, rows, columns) without padding, in parts of the scan's range, 0 its dark and 1 its bright end.
        usual: the level that tissue exceeds where air is dark and has no noise.

    Returns:
        Air, of the same shape, all False where the body fills the slices; the level, above the usual one
        where noise reaches farther.
    """
    smooth = np.asarray(ndimage.gaussian_filter(level, (0, 1, 1), truncate=2))
    frame = _frame(level)
    return _air(level, smooth, frame), _least_of_tissue(smooth[frame], usual)


def _air(level: NDArray[np.float32], smooth: NDArray[np.float32], frame: NDArray[np.bool_]) -> NDArray[np.bool_]:
    found = smooth[frame]
    counts, edges = np.histogram(found, 220, (0.0, 1.1))
    usual = float(edges[counts.argmax()] + edges[1] / 2)
    below = found[(found <= usual) & (found > usual - 2 * MOST)]  # tissue lies above, the lower half is air alone
    spread = float(np.quantile(usual - below, MANY)) / DEVIATIONS if below.size else 0.0
    width = min(max(LEAST, 3 * spread), MOST)
    same = np.abs(smooth - usual) <= width
    if same[frame].mean() < SHARE or (usual > DARK and not _flatter(np.abs(level - smooth), same & frame, ~same)):
        return np.zeros_like(same)
    air = np.stack([reaching_border(plane) for plane in same])
    beside = ndimage.maximum_filter(air, (1, 5, 5))  # where smoothing mixed it with what is next to it
    return np.asarray(air | (beside & (np.abs(level - usual) <= width)))


def _least_of_tissue(framing: NDArray[np.float32], usual: float) -> float:
    """Where all that frames the slices is dark, and much of it above the usual level, that is noise."""
    noisy = (framing < NOISE).mean() > ALL_ROUND and (framing > usual).mean() > SPECK
    return float(np.quantile(framing, 0.98)) if noisy else usual


def _frame(level: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The outermost pixels of each slice."""
    frame = np.ones(level.shape, np.bool_)
    frame[:, FRAME:-FRAME, FRAME:-FRAME] = False
    return frame


def _flatter(grain: NDArray[np.float32], air: NDArray[np.bool_], tissue: NDArray[np.bool_]) -> bool:
    """Whether there is much less noise in one than in the other; medians, as edges are no noise."""
    return not tissue.any() or bool(np.median(grain[air]) <= FLAT * np.median(grain[tissue]))


def reaching_border(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pieces of a mask (rows, columns) that touch its border."""
    pieces, count = ndimage.label(plane)
    border = np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]])
    touching = np.zeros(count + 1, np.bool_)
    touching[border] = True
    touching[0] = False
    return touching[pieces]
