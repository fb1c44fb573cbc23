"""Borders of a coarse map moved to the edges of the image at its own resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FLATNESS = 1e-4
"""Variance of intensities in [0, 1] below which a window counts as flat: eps of the paper."""


def guided_filter(
    maps: NDArray[np.float32], guide: NDArray[np.float32], radius: tuple[int, int]
) -> NDArray[np.float32]:
    """The guided filter (He et al. 2013, algorithm 1), slice by slice: in every window a linear function of the guide.

    Args:
        maps: (slices, rows, columns).
        guide: the image, of the same shape, in [0, 1].
        radius: of the window in rows and columns.

    Returns:
        The filtered maps in [0, 1]; slices without a map stay empty.
    """
    found = np.zeros_like(maps)
    shown = np.flatnonzero(maps.any(axis=(1, 2)))
    size = (1, *(2 * pixels + 1 for pixels in radius))

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(ndimage.uniform_filter(values, size))

    image, coarse = guide[shown], maps[shown]
    mean_image, mean_map = mean(image), mean(coarse)
    slope = (mean(image * coarse) - mean_image * mean_map) / (mean(image * image) - mean_image**2 + FLATNESS)
    found[shown] = np.clip(mean(slope) * image + mean(mean_map - slope * mean_image), 0, 1)
    return found
