"""Synthetic pictures of shapes, and what people might have drawn on one of them.

Shapes and intensities are random and mean nothing (as in SynthSeg, Billot et al.
2023): what can be learned is where people draw within a shape, and that borders
lie where pictures change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scenes import SIDE, Mask, Plane, is_cut, one_of, painted, patchwork, piece, speckled
from scipy import ndimage
from strokes import draw_background, draw_dot, draw_stroke

LEAST, MOST = 12, 0.4
"""Pixels of a shape, and the part of the picture that it may fill."""


@dataclass(frozen=True)
class Example:
    """A picture, (SIDE, SIDE) as all of these, and what somebody drew on it.

    Attributes:
        shape: what is meant.
        own: strokes or a point in it; nothing where there is a box alone.
        others: strokes of other shapes and of background.
        box: around it, a little loose; nothing where there is none.
    """

    picture: Plane
    shape: Mask
    own: Mask
    others: Mask
    box: Mask


def example(rng: np.random.Generator) -> Example:
    """One of endlessly many."""
    while True:
        regions = patchwork(rng)
        index = one_of(rng, regions)
        shape = piece(rng, regions == index)
        if shape is None or not LEAST <= shape.sum() <= MOST * SIDE**2 or (is_cut(shape) and rng.random() < 0.95):
            continue
        picture = painted(rng, speckled(rng, regions, shape) if rng.random() < 0.4 else regions, index, shape)
        kind = rng.random()
        if kind < 0.3:
            return _boxed(rng, picture, shape, regions, index)
        if kind < 0.43:
            return _pointed(rng, picture, shape, regions, index)
        return _stroked(rng, picture, shape, regions, index)


def _boxed(rng: np.random.Generator, picture: Plane, shape: Mask, regions: NDArray[np.int64], index: int) -> Example:
    """A box, sometimes with strokes."""
    rows, columns = np.nonzero(shape)
    loose = rng.integers(0, 3, 4)
    box = np.zeros_like(shape)
    box[
        max(0, rows.min() - loose[0]) : rows.max() + 1 + loose[1],
        max(0, columns.min() - loose[2]) : columns.max() + 1 + loose[3],
    ] = True
    drawn = _stroked(rng, picture, shape, regions, index)
    if rng.random() < 0.25:
        return Example(picture, shape, drawn.own, drawn.others, box)
    nothing = np.zeros_like(shape)
    return Example(picture, shape, nothing, drawn.others if rng.random() < 0.3 else nothing, box)


def _pointed(rng: np.random.Generator, picture: Plane, shape: Mask, regions: NDArray[np.int64], index: int) -> Example:
    """A point; what is far from all points may be background."""
    own, others, shapes = _each(rng, draw_dot, shape, _other_shapes(rng, regions, index, shape))
    if rng.random() < 0.7:
        reach = np.sqrt(shape.sum() / np.pi) * rng.uniform(1.6, 3.2)
        away = ndimage.distance_transform_edt(~(own | others)) > reach
        others |= away & (ndimage.distance_transform_edt(away) < rng.uniform(2, 30)) & ~shapes
    return Example(picture, shape, own, others & ~own, np.zeros_like(shape))


def _stroked(rng: np.random.Generator, picture: Plane, shape: Mask, regions: NDArray[np.int64], index: int) -> Example:
    """Strokes along the middle of the shape, of others, and of background."""
    own, others, shapes = _each(rng, draw_stroke, shape, _other_shapes(rng, regions, index, shape))
    if rng.random() < 0.93:
        background = draw_background(rng, shapes)
        if rng.random() < 0.15:  # a fence, and all behind it
            pieces, _ = ndimage.label(~background)
            background |= ~np.isin(pieces, np.unique(pieces[shapes]))
        others |= background
    return Example(picture, shape, own, others & ~own, np.zeros_like(shape))


def _each(
    rng: np.random.Generator, draw: Callable[[np.random.Generator, Mask], Mask], shape: Mask, beside: Sequence[Mask]
) -> tuple[Mask, Mask, Mask]:
    """What is drawn in the shape and in those beside it, and where any of them is."""
    own, others, shapes = draw(rng, shape), np.zeros_like(shape), shape.copy()
    for other in beside:
        others |= draw(rng, other)
        shapes |= other
    return own, others, shapes


def _other_shapes(rng: np.random.Generator, regions: NDArray[np.int64], index: int, shape: Mask) -> list[Mask]:
    """Up to two others, the largest pieces of their regions."""
    around = [region for region in np.unique(regions) if region != index]
    rng.shuffle(around)
    found = []
    for region in around[: int(rng.integers(0, 3))]:
        pieces, _ = ndimage.label(regions == region)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        other = (pieces == sizes.argmax()) & ~shape
        if other.sum() >= LEAST:
            found.append(other)
    return found
