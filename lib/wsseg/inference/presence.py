"""What people say of whole slices, respected by a mask, whatever the method.

Behind the choice of pieces, so that an organ that is denied on a slice in its midst stays one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from wsseg.labels.space import NO, YES, presence_of_mask

CLUE = 0.025
"""Probability that a class has somewhere on a slice at least; with less nothing says where on it the class might be."""

REACH = 2
"""Slices from one that shows a class, beyond which its place says nothing of where the class lies."""

SURE = float(logit(0.9))
"""Logits by which a pixel may be less likely than the likeliest one to be marked with it."""


def without_denied(maps: NDArray[np.float32], presence: NDArray[np.int8]) -> NDArray[np.float32]:
    """Probabilities that are 0 on slices that are said not to show a class; ``maps`` itself where there are none.

    Args:
        maps: (slices, classes, rows, columns).
        presence: (slices, classes) of 1, 0, -1 (unknown).
    """
    denied = presence == NO
    if not denied.any():
        return maps
    found = maps.copy()
    found[denied] = 0
    return found


def clear_denied(mask: NDArray[np.uint8], presence: NDArray[np.int8]) -> NDArray[np.uint8]:
    """A mask (slices, rows, columns), 0 background, 1..N the classes, without what is denied."""
    found = mask.copy()
    for index, k in np.argwhere(presence == NO):
        found[index][found[index] == k + 1] = 0
    return found


def unmarked(mask: NDArray[np.uint8], presence: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Where a class is said to be on a slice and the mask has none of it, (slices, classes)."""
    return np.asarray((presence == YES) & (presence_of_mask(mask, presence.shape[1], axis=0).T == NO))


def extend_shown(
    mask: NDArray[np.uint8],
    maps: NDArray[np.float32],
    presence: NDArray[np.int8],
    drawn: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """A mask that goes on, on slices that are said to show a class but have nothing of it.

    It goes on within what is marked on the nearest slice that shows the class, where it is likeliest beside
    all other classes; elsewhere on the slice whatever is likeliest is something else (of 18 such slices of hearts
    12 were marked beside the class).

    Args:
        mask: (slices, rows, columns), 0 background, 1..N the classes.
        maps: (slices, classes, rows, columns).
        presence: (slices, classes) of 1, 0, -1 (unknown).
        drawn: (slices, rows, columns), 0 nothing, 1..N a class, 255 background; where a class is drawn on a
            slice nothing is added.
    """
    found = mask.copy()
    for index, k in np.argwhere(presence == YES):
        here = np.zeros(mask.shape[1:], np.uint8) if drawn is None else drawn[index]
        shown = np.flatnonzero((mask == k + 1).any(axis=(1, 2)))
        if not len(shown) or index in shown or (here == k + 1).any():
            continue
        nearest = shown[np.abs(shown - index).argmin()]
        place = (mask[nearest] == k + 1) & (here == 0)
        if abs(nearest - index) > REACH or maps[index, k][place].max(initial=0.0) < CLUE:
            continue
        odds = logit(maps[index][:, place].clip(1e-6, 1 - 1e-6))
        margin = odds[k] - np.delete(odds, k, axis=0).max(axis=0, initial=0.0)
        found[index][place] = np.where(margin > margin.max() - SURE, k + 1, found[index][place])
    return found


def keep_shown(marked: NDArray[np.uint8], pieces: NDArray[np.uint8], presence: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The pieces of a mask that were chosen, and what else is marked on slices that are said to show a class.

    Args:
        marked, pieces: (slices, rows, columns), 0 background, 1..N the classes.
        presence: (slices, classes) of 1, 0, -1 (unknown).
    """
    found = pieces.copy()
    for index, k in np.argwhere((presence == YES) & _dropped(marked, pieces, presence.shape[1])):
        found[index][marked[index] == k + 1] = k + 1
    return found


def presence_of(
    estimated: NDArray[np.float32], maps: NDArray[np.float32], marked: NDArray[np.uint8], pieces: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Presence (slices, classes) as a method has it, but that pieces which were dropped do not speak for their slices.

    Args:
        estimated: (slices, classes) in [0, 1], before pieces were chosen.
        maps: (slices, classes, rows, columns).
        marked, pieces: (slices, rows, columns), before and after.
    """
    found = estimated.copy()
    for index, k in np.argwhere(_dropped(marked, pieces, found.shape[1])):
        left = maps[index, k][marked[index] != k + 1].max(initial=0.0)
        found[index, k] *= min(0.5, left)  # it is marked nowhere any more
    return found


def _dropped(marked: NDArray[np.uint8], pieces: NDArray[np.uint8], classes: int) -> NDArray[np.bool_]:
    """Where all that was marked of a class on a slice is gone, (slices, classes)."""
    before, after = (
        np.stack([(mask == k + 1).any(axis=(1, 2)) for k in range(classes)], axis=1) for mask in (marked, pieces)
    )
    return np.asarray(before & ~after)
