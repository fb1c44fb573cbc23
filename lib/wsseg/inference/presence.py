"""What people say of whole slices, respected by a mask, whatever the method.

Of a slice that is said to show a class something is marked, of one that is said not to show it nothing.
Both are done around the choice of pieces, so that an organ that is denied in its midst stays one.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit, logit

from wsseg.labels.space import NO, YES
from wsseg.methods.shared.masks import mask_of

CLUE = 0.025
"""Probability that a class has somewhere on a slice at least; with less nothing says where on it the class might be."""

SURE = float(logit(0.9))
"""Logits by which the likeliest pixel of a class exceeds all others, where it would be marked on no pixel."""


def raise_shown(
    maps: NDArray[np.float32], presence: NDArray[np.int8], drawn: NDArray[np.uint8] | None = None
) -> NDArray[np.float32]:
    """Probabilities of which something is marked on every slice that is said to show a class.

    That is the piece around the pixel that is likeliest beside all other classes; whatever is nearly as likely
    belongs to it. Where the class is drawn on the slice nothing need be added.

    Args:
        maps: (slices, classes, rows, columns).
        presence: (slices, classes) of 1, 0, -1 (unknown).
        drawn: (slices, rows, columns), 0 nothing, 1..N a class, 255 background.

    Returns:
        ``maps`` itself where nothing is missed.
    """
    found = maps
    for index, k in np.argwhere((presence == YES) & (maps.max(axis=(2, 3), initial=0.0) >= CLUE)):
        here = np.zeros(maps.shape[2:], np.uint8) if drawn is None else drawn[index]
        if (here == k + 1).any() or (mask_of(torch.from_numpy(found[index, None]))[0] == k + 1).any():
            continue
        odds = logit(found[index].clip(1e-6, 1 - 1e-6))
        others = np.maximum(np.delete(odds, k, axis=0).max(axis=0, initial=0.0), 0)
        margin = np.where(here > 0, -np.inf, odds[k] - others)
        best = np.unravel_index(margin.argmax(), margin.shape)
        if maps[index, k][best] < CLUE:
            continue
        near, _ = ndimage.label(margin > margin[best] - SURE)
        piece = near == near[best]
        if found is maps:
            found = maps.copy()
        found[index, k][piece] = expit(odds[k] + SURE - margin[best])[piece]
    return found


class Denied:
    """Classes on slices that are said not to show them.

    Args:
        presence: (slices, classes) of 1, 0, -1 (unknown).
    """

    def __init__(self, presence: NDArray[np.int8]) -> None:
        self._denied = presence == NO
        self._slices = np.flatnonzero(self._denied.any(axis=1))

    def cleared(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (slices, classes, rows, columns) without them; ``maps`` itself where there are none."""
        if not len(self._slices):
            return maps
        found = maps.copy()
        found[self._denied] = 0
        return found

    def bridged(self, mask: NDArray[np.uint8], cleared: NDArray[np.float32]) -> NDArray[np.uint8]:
        """A mask (slices, rows, columns) to choose pieces of: what comes second where there is such, else what was."""
        found = mask.copy()
        second = mask_of(torch.from_numpy(cleared[self._slices])).numpy()
        found[self._slices] = np.where(second > 0, second, mask[self._slices])
        return found

    def without(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask (slices, rows, columns) without them."""
        found = mask.copy()
        for index, k in np.argwhere(self._denied):
            found[index][found[index] == k + 1] = 0
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
