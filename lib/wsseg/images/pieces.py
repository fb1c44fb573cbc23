"""Connected pieces of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask of any shape, of equals the first; pieces touch along whole sides."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())


def largest_pieces(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest piece of each class of a mask, the rest 0."""
    kept = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]):
        kept[largest_piece(mask == value)] = value
    return kept
