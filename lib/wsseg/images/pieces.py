"""Connected pieces of masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ALONE = 0.01
"""Surroundings that a piece has at least, so that one is kept where no piece is surrounded at all."""


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask of any shape, of equals the first; pieces touch along whole sides."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    return np.asarray(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())


def extent(mask: NDArray[np.bool_], room: int = 0) -> tuple[slice, ...]:
    """The smallest box around what is marked, a slice for each axis, so much larger on each side; empty of nothing.

    Pieces of a mask are looked for in it alone: a CT of 300 slices has a hundred times its voxels.
    """
    sides, rest = [], mask
    for length in mask.shape:
        shown = np.flatnonzero(rest.any(axis=tuple(range(1, rest.ndim))))
        if not shown.size:
            return (slice(0),) * mask.ndim
        sides.append(slice(max(0, int(shown[0]) - room), min(length, int(shown[-1]) + 1 + room)))
        rest = rest[shown].any(axis=0)
    return tuple(sides)


def likely_pieces(
    mask: NDArray[np.uint8], probability: NDArray[np.float32], inside: Mapping[int, int]
) -> NDArray[np.uint8]:
    """One piece of each class, by its probability and place; the rest 0.

    A piece counts by the sum of its voxels' probabilities; one of a class that
    lies inside another also by how much of its border in the slices is the
    other's piece, and one that surrounds another by how much of that one's border it is.

    Args:
        mask: (slices, rows, columns), 0 background, 1..N the classes.
        probability: (slices, classes, rows, columns).
        inside: class that surrounds, by class; no circle in it.
    """
    near = extent(mask > 0, room=1)
    within, likely = mask[near], probability[near[0], :, near[1], near[2]]
    kept: dict[int, NDArray[np.bool_]] = {}
    values = [int(value) for value in np.unique(within[within > 0])]
    for value in sorted(values, key=lambda value: _depth(value, inside)):
        around = kept.get(inside.get(value, 0))
        inner = np.isin(within, [other for other, outer in inside.items() if outer == value])
        kept[value] = _likeliest(within == value, likely[:, value - 1], around, inner)
    found = np.zeros_like(mask)
    for value, piece in kept.items():
        found[near][piece] = value
    return found


def _depth(value: int, inside: Mapping[int, int]) -> int:
    """How many classes lie around a class."""
    return 1 + _depth(inside[value], inside) if value in inside else 0


def _likeliest(
    mask: NDArray[np.bool_],
    probability: NDArray[np.float32],
    around: NDArray[np.bool_] | None,
    within: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """The piece of a class that counts most, beside the piece that should surround it, if any, and what it should."""
    pieces, count = ndimage.label(mask)
    scores = np.asarray(np.bincount(pieces.ravel(), probability.ravel(), count + 1)[1:], np.float64)
    if around is not None and count > 1:
        scores = scores * [max(_enclosed(pieces == piece, around), ALONE) for piece in range(1, count + 1)]
    if within.any() and count > 1:
        border = _border(within)
        touched = np.bincount(pieces[border], minlength=count + 1)[1:] / max(1, border.sum())
        scores = scores * np.maximum(touched, ALONE)
    return np.asarray(pieces == 1 + int(np.argmax(scores)))


def _enclosed(piece: NDArray[np.bool_], around: NDArray[np.bool_]) -> float:
    """Part of what borders on a piece within its slices (slices, rows, columns) that is ``around``."""
    border = _border(piece)
    return float(around[border].mean()) if border.any() else 0.0


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What borders on a mask within its slices."""
    found: NDArray[np.bool_] = ndimage.binary_dilation(mask, ndimage.generate_binary_structure(2, 1)[None]) & ~mask
    return found
