"""Seeds: the pixels that several heat maps agree on, as labels to learn from.

Labels follow the one convention of pixel labels: 0 not labelled, 1..N the
classes, 255 background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wsseg.images.pieces import largest_piece
from wsseg.labels.space import BACKGROUND, NO, YES
from wsseg.methods.shared.heat import otsu_thresholds

WEAK = 0.5
"""A map speaks for background where it is below this part of its Otsu threshold."""


SURE = 0.7
"""Probability above which a model's own prediction is learned from."""


def vote(maps: Sequence[Tensor], deep: Tensor, votes: int) -> Tensor:
    """Seeds of one class in slices that show it: foreground where maps agree, background where none speaks for it.

    The foreground is the largest piece, in plane, of where ``votes`` maps
    exceed their Otsu threshold; the background is where every map stays below
    half of it, and the rim. Both lie wrong far less often than any one map
    (measured by ``wsseg train --check``). Where a map is flat, nothing is said.

    Args:
        maps: each (slices, size, size), not negative.
        deep: (slices, size, size) bool; where a finding may be, the rest is rim.

    Returns:
        (slices, size, size) uint8 of 1, 255 and 0.
    """
    strong = torch.zeros(deep.shape, dtype=torch.uint8)
    weak = torch.zeros(deep.shape, dtype=torch.bool)
    for plane in maps:
        threshold = otsu_thresholds(plane)
        strong += (plane > threshold) & deep
        weak |= (plane > WEAK * threshold) & deep
    found = torch.where(weak, 0, BACKGROUND).to(torch.uint8)
    found[largest_pieces(strong >= votes)] = 1
    flat = torch.stack([plane.amax(dim=(1, 2)) == plane.amin(dim=(1, 2)) for plane in maps]).any(dim=0)
    return torch.where(flat[:, None, None], 0, found)


def confident(probability: Tensor, deep: Tensor) -> Tensor:
    """Seeds of one class in slices that show it from a model's own probabilities (slices, size, size).

    Foreground is the largest piece above ``SURE`` outside the rim, background
    what is below one half; all else is left out.
    """
    found = torch.where(probability < 0.5, BACKGROUND, 0).to(torch.uint8)
    found[largest_pieces((probability > SURE) & deep)] = 1
    return found


def largest_pieces(masks: Tensor) -> Tensor:
    """The largest connected piece of each slice (slices, size, size), bool."""
    return torch.from_numpy(np.stack([largest_piece(plane) for plane in masks.numpy()]))


def merge_classes(per_class: Tensor, presence: Tensor) -> Tensor:
    """One label per pixel from the seeds of every class.

    A pixel that two classes claim is not labelled; background is what is
    background to every class, and a slice that is known to be free of a class
    is background to it.

    Args:
        per_class: (slices, classes, size, size) uint8 of 1, 255, 0; looked at
            where presence is yes.
        presence: (slices, classes) of 1, 0, -1.

    Returns:
        (slices, size, size) uint8.
    """
    shown, absent = (presence == YES)[:, :, None, None], (presence == NO)[:, :, None, None]
    claimed = (per_class == 1) & shown
    nothing = ((per_class == BACKGROUND) & shown) | absent
    order = torch.arange(1, per_class.shape[1] + 1, dtype=torch.uint8).view(1, -1, 1, 1)
    alone = claimed.sum(dim=1, dtype=torch.uint8) == 1
    one = torch.where(alone, (claimed * order).sum(dim=1, dtype=torch.uint8), 0)
    return torch.where(nothing.all(dim=1), BACKGROUND, one)
