"""What people draw in shapes: points, strokes along the middle, loops, curls and zigzags; and around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scenes import COLUMNS, ROWS, SIDE, Mask, smooth
from scipy import ndimage
from scipy.interpolate import CubicSpline
from skimage.measure import find_contours
from skimage.morphology import convex_hull_image, skeletonize

THIN = 4.0
"""Pixels from its border to its middle of a shape in which there is room for its middle line alone."""

Points: TypeAlias = NDArray[np.float64]
"""Rows and columns (N, 2) in pixels, along a stroke."""

Depth: TypeAlias = NDArray[np.float64]
"""How far each pixel (SIDE, SIDE) of a shape is from its border; 0 outside."""


def draw_dot(rng: np.random.Generator, shape: Mask) -> Mask:
    """A small disc somewhere in the inner part."""
    depth = ndimage.distance_transform_edt(shape)
    inner = np.argwhere(depth >= rng.uniform(0.3, 0.8) * depth.max())
    row, column = inner[rng.integers(len(inner))]
    radius = max(1.0, rng.uniform(0.5, 1.0) * min(3.0, 0.35 * depth.max()))
    found: Mask = (np.hypot(ROWS - row, COLUMNS - column) <= radius) & shape
    return found


def draw_stroke(rng: np.random.Generator, shape: Mask) -> Mask:
    """A stroke with tremor, perhaps with gaps, as thin or thick as brushes are, as a rule within the shape."""
    depth = ndimage.distance_transform_edt(shape)
    way = _along_the_middle if depth.max() < THIN else WAYS[rng.choice(len(WAYS), p=ODDS)]
    row, column = np.round(way(rng, depth).clip(0, SIDE - 1)).astype(int).T
    within = shape[row, column]  # lines may cross a hole; slips come by trembling
    found = np.zeros_like(shape)
    found[_trembled(rng, row[within], column[within])] = True
    found |= ndimage.binary_closing(found, np.ones((3, 3)))
    if rng.random() < 0.35:
        kept = found & (smooth(rng, int(rng.integers(5, 14))) > rng.uniform(-0.7, 0.3))
        found = kept if kept.any() else found
    if rng.random() < 0.5:
        found = ndimage.binary_dilation(found, np.ones((3, 3)) if rng.random() < 0.4 else None)
    if rng.random() < 0.85:
        found &= shape
    return found if found.any() else np.asarray(depth == depth.max())


def _along_the_middle(rng: np.random.Generator, depth: Depth) -> Points:
    """Its middle line, as a rule not to its ends, and often a part of it."""
    middle = skeletonize(depth > 0)
    if middle.any():
        middle &= depth >= rng.uniform(0.0, 0.7) * depth[middle].max()
    points: Points = np.argwhere(middle if middle.any() else depth == depth.max()).astype(float)
    if rng.random() < 0.5 and len(points) > 6:
        near = np.hypot(*(points - points[rng.integers(len(points))]).T)
        points = points[near <= rng.uniform(0.25, 1.0) * np.ptp(points, axis=0).max()]
    return points


def _looped(rng: np.random.Generator, depth: Depth) -> Points:
    """As far in as the border is everywhere, around the middle or a part of the way, the end perhaps a curl."""
    pieces, _ = ndimage.label(depth >= rng.uniform(0.3, 0.8) * depth.max())
    within = np.pad(pieces == pieces.flat[depth.argmax()], 1)
    loop = max(find_contours(within.astype(float), 0.5), key=len) - 1
    loop = np.roll(loop[:-1], rng.integers(len(loop) - 1), axis=0)
    loop = loop[: max(2, round(rng.uniform(0.4, 1.0) * len(loop)))]
    if rng.random() < 0.4:
        inward = np.linspace(1, rng.uniform(0.3, 0.9), len(loop))[:, None]
        loop = loop.mean(axis=0) + inward * (loop - loop.mean(axis=0))
    return _line(loop)


def _curved(rng: np.random.Generator, depth: Depth) -> Points:
    """A smooth curve through some places well within."""
    places = _inner(rng, depth, int(rng.integers(3, 7)))
    if rng.random() < 0.6:
        places = places[np.argsort(places @ rng.standard_normal(2))]
    curve: Points = CubicSpline(np.arange(len(places)), places)(np.linspace(0, len(places) - 1, 30))
    return _line(curve)


def _zigzag(rng: np.random.Generator, depth: Depth) -> Points:
    """To and fro between two sides."""
    inner = np.argwhere(depth >= rng.uniform(0.2, 0.5) * depth.max())
    turned = inner @ np.linalg.svd(inner - inner.mean(axis=0), full_matrices=False)[2].T
    turns = np.linspace(turned[:, 0].min(), turned[:, 0].max(), int(rng.integers(4, 12)))
    ends = []
    for number, place in enumerate(turns):
        near = np.flatnonzero(np.abs(turned[:, 0] - place) <= 1)
        if len(near):
            across = turned[near, 1]
            ends.append(inner[near[across.argmax() if number % 2 else across.argmin()]])
    return _line(np.array(ends, float))


def _straight(rng: np.random.Generator, depth: Depth) -> Points:
    """From one place to another."""
    return _line(_inner(rng, depth, 2))


WAYS: Sequence[Callable[[np.random.Generator, Depth], Points]] = [
    _along_the_middle,
    _looped,
    _curved,
    _zigzag,
    _straight,
]
"""How people draw in a shape that has room for it."""

ODDS = (0.4, 0.25, 0.15, 0.1, 0.1)
"""How often they draw so."""


def _inner(rng: np.random.Generator, depth: Depth, count: int) -> Points:
    inner = np.argwhere(depth >= rng.uniform(0.3, 0.6) * depth.max())
    return inner[rng.integers(len(inner), size=count)].astype(float)


def _line(ends: Points) -> Points:
    """Points half a pixel apart along straight lines from one end to the next."""
    steps = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(ends, axis=0).T))])
    places = np.linspace(0, steps[-1], max(2, int(2 * steps[-1])))
    return np.stack([np.interp(places, steps, axis) for axis in ends.T], axis=1)


def _trembled(
    rng: np.random.Generator, row: NDArray[np.int64], column: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of pixels, moved a little, neighbours alike."""
    amount, coarse = rng.uniform(0, 1.2), int(rng.integers(4, 12))
    moved = [along + np.round(amount * smooth(rng, coarse)[row, column]).astype(int) for along in (row, column)]
    return np.clip(moved[0], 0, SIDE - 1), np.clip(moved[1], 0, SIDE - 1)


def draw_background(rng: np.random.Generator, shapes: Mask) -> Mask:
    """Arcs around the shapes, a loop around all of them, curves across the picture, some pixels off the shapes."""
    far = ndimage.distance_transform_edt(~shapes)
    found = np.zeros_like(shapes)
    if rng.random() < 0.6:
        arc = _line_around(rng, far, rng.uniform(2, 14))
        if rng.random() < 0.7:
            arc &= smooth(rng, int(rng.integers(3, 7))) > rng.uniform(-0.8, 0.8)
        found |= arc & (far > 1.5)
    if rng.random() < 0.3:
        around = ndimage.distance_transform_edt(~convex_hull_image(shapes))
        found |= _line_around(rng, around, rng.uniform(2, 10)) & (far > 1.5)
    if rng.random() < 0.7:
        part = np.linspace(0, 1, 80)[:, None]
        for _ in range(int(rng.integers(1, 4))):
            begin, bend, end = rng.uniform(0, SIDE - 1, (3, 2))
            curve = np.round((1 - part) ** 2 * begin + 2 * part * (1 - part) * bend + part**2 * end).astype(int)
            found[curve[:, 0], curve[:, 1]] = True
        found = ndimage.binary_dilation(found) & (far > rng.uniform(1, 4))
    if rng.random() < 0.5:
        found = ndimage.binary_dilation(found, iterations=2) & (far > 1)
    return found


def _line_around(rng: np.random.Generator, far: Depth, off: float) -> Mask:
    """So far off, not quite evenly."""
    found: Mask = np.abs(far - off - rng.uniform(0, 2.5) * smooth(rng, 5)) < 0.7
    return found
