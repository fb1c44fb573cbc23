"""What people say of whole slices, respected by a mask, whatever the method."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit

from wsseg.labels.space import NO, YES
from wsseg.methods.shared.masks import mask_of

CLUE = 0.01
"""Probability that a class has somewhere on a slice at least; with less nothing says where on it the class might be."""

SURE = 0.9
"""Probability of the likeliest pixel on a slice that is said to show a class, where nothing of it would be marked."""


def raise_shown(maps: NDArray[np.float32], presence: NDArray[np.int8]) -> NDArray[np.float32]:
    """Probabilities of which something is marked on every slice that is said to show a class.

    The order of pixels stays: logits of such a slice are moved until its likeliest pixel is ``SURE``.

    Args:
        maps: (slices, classes, rows, columns).
        presence: (slices, classes) of 1, 0, -1 (unknown).
    """
    most = maps.max(axis=(2, 3), initial=0.0)
    missed = np.argwhere((presence == YES) & (most <= 0.5) & (most >= CLUE))
    if not len(missed):
        return maps
    found = maps.copy()
    for index, k in missed:
        by = logit(SURE) - logit(most[index, k])
        found[index, k] = expit(logit(found[index, k].clip(1e-6, 1 - 1e-6)) + by)
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
    """Presence (slices, classes) that agrees with a mask: pieces that were dropped do not speak for their slices.

    Args:
        estimated: (slices, classes) in [0, 1], before pieces were chosen.
        maps: (slices, classes, rows, columns).
        marked, pieces: (slices, rows, columns), before and after.
    """
    found = estimated.copy()
    for index, k in np.argwhere(_dropped(marked, pieces, found.shape[1])):
        others = maps[index, k][marked[index] != k + 1]
        found[index, k] = min(found[index, k], others.max(initial=0.0))
    return found


def _dropped(marked: NDArray[np.uint8], pieces: NDArray[np.uint8], classes: int) -> NDArray[np.bool_]:
    """Where all that was marked of a class on a slice is gone, (slices, classes)."""
    before, after = (
        np.stack([(mask == k + 1).any(axis=(1, 2)) for k in range(classes)], axis=1) for mask in (marked, pieces)
    )
    return before & ~after


def without_denied(
    mask: NDArray[np.uint8], maps: NDArray[np.float32], presence: NDArray[np.int8]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A mask and its probabilities without classes on slices that are said not to show them.

    What comes second takes their place. It is done behind the choice of pieces: an organ that is denied
    on a slice in its midst is one still.

    Args:
        mask: (slices, rows, columns), 0 background, 1..N the classes.
        maps: (slices, classes, rows, columns).
        presence: (slices, classes) of 1, 0, -1 (unknown).
    """
    denied = presence == NO
    left = maps * ~denied[:, :, None, None]
    lost = np.take_along_axis(np.pad(denied, ((0, 0), (1, 0))), mask.reshape(len(mask), -1), axis=1).reshape(mask.shape)
    return np.where(lost, mask_of(torch.from_numpy(left)).numpy(), mask), left
