"""Synthetic pictures of shapes, and what people might have drawn on one of them.

Shapes and intensities are random and mean nothing (as in SynthSeg, Billot et al.
2023): what can be learned is where people draw within a shape, and that borders
lie where pictures change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import skeletonize

SIDE = 128
"""Pixels along a picture."""

LEAST, MOST = 12, 0.4
"""Pixels of a shape, and the part of the picture that it may fill."""

Mask: TypeAlias = NDArray[np.bool_]
Plane: TypeAlias = NDArray[np.float32]

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32)


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
        regions = _regions(rng)
        index = _one_of(rng, regions)
        shape = _piece(rng, regions == index)
        if shape is None or not LEAST <= shape.sum() <= MOST * SIDE**2 or (_is_cut(shape) and rng.random() < 0.95):
            continue
        picture = _picture(rng, _speckled(rng, regions, shape) if rng.random() < 0.4 else regions, index, shape)
        kind = rng.random()
        if kind < 0.3:
            return _boxed(rng, picture, shape, regions, index)
        if kind < 0.43:
            return _pointed(rng, picture, shape, regions, index)
        return _stroked(rng, picture, shape, regions, index)


def _smooth(rng: np.random.Generator, coarse: int) -> Plane:
    """A random surface of about unit deviation, with so many bumps along a side."""
    bumps = rng.standard_normal((coarse, coarse)).astype(np.float32)
    wide: Plane = ndimage.zoom(bumps, SIDE / coarse, order=3 if coarse > 3 else 1, mode="reflect", grid_mode=True)
    return wide[:SIDE, :SIDE]


def _regions(rng: np.random.Generator) -> NDArray[np.int64]:
    """The picture in regions, 0 to N: a patchwork, on it ellipses, rings, crescents and tubes."""
    count = int(rng.integers(3, 9))
    found: NDArray[np.int64] = np.stack([_smooth(rng, int(rng.integers(3, 10))) for _ in range(count)]).argmax(axis=0)
    for _ in range(int(rng.integers(1, 4))):
        away = _ellipse(rng)
        if rng.random() < 0.45:
            found = np.where(away < 1 + rng.uniform(0.2, 0.6), found.max() + 1, found)
        found = np.where(away < 1, found.max() + 1, found)
    if rng.random() < 0.35:
        tubes = np.abs(_smooth(rng, int(rng.integers(3, 6)))) < rng.uniform(0.03, 0.15)
        found = np.where(tubes, found.max() + 1, found)
    return found


def _ellipse(rng: np.random.Generator) -> Plane:
    """Distance from the middle of a lumpy ellipse, or of a crescent, in half axes."""
    row, column = rng.uniform(0.2, 0.8, 2) * SIDE
    long = np.exp(rng.uniform(np.log(2.2), np.log(36.0)))
    short, angle = long * rng.uniform(0.35, 1.0), rng.uniform(0, np.pi)
    down, right = ROWS - row, COLUMNS - column
    along = (right * np.cos(angle) + down * np.sin(angle)) / long
    across = (-right * np.sin(angle) + down * np.cos(angle)) / short
    away: Plane = np.hypot(along, across) + rng.uniform(0, 0.25) * _smooth(rng, int(rng.integers(4, 9)))
    if rng.random() < 0.3:
        away = np.maximum(away, 1.5 - np.hypot(along - rng.uniform(-0.6, 0.6), across - 0.7))
    return away


def _one_of(rng: np.random.Generator, regions: NDArray[np.int64]) -> int:
    """A region, as a rule one that lies on the patchwork."""
    last = int(regions.max())
    return int(rng.integers(last + 1)) if rng.random() < 0.4 else last - int(rng.integers(0, min(3, last + 1)))


def _piece(rng: np.random.Generator, region: Mask) -> Mask | None:
    """One piece of a region, large ones more often."""
    pieces, count = ndimage.label(region)
    if not count:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    found: Mask = pieces == 1 + rng.choice(count, p=sizes / sizes.sum())
    return found


def _is_cut(shape: Mask) -> bool:
    """Whether it goes on beyond the picture."""
    return bool(shape[0].any() or shape[-1].any() or shape[:, 0].any() or shape[:, -1].any())


def _speckled(rng: np.random.Generator, regions: NDArray[np.int64], shape: Mask) -> NDArray[np.int64]:
    """With vessels, muscles, calcifications in the shape, which belong to it."""
    bumps = _smooth(rng, int(rng.integers(14, 36)))
    spots = shape & (bumps > np.quantile(bumps[shape], rng.uniform(0.8, 0.97)))
    if rng.random() < 0.5:
        spots &= ndimage.distance_transform_edt(shape) > 1.5
    return np.where(spots, regions.max() + 1, regions)


def _picture(rng: np.random.Generator, regions: NDArray[np.int64], index: int, shape: Mask) -> Plane:
    """Grey values: a level and a texture a region, uneven light, blur, noise; one shape in four is faint."""
    count = int(regions.max()) + 1
    level = rng.uniform(0, 1, count)
    if rng.random() < 0.4:
        level[rng.integers(count)] = level[rng.integers(count)] + rng.normal() * 0.05
    if rng.random() < 0.3:
        level = np.round(level * rng.integers(2, 5)) / 4 + rng.normal(size=count) * 0.04
    texture = rng.uniform(0, 0.12, count) * (rng.random(count) < 0.6)
    beside = np.unique(regions[ndimage.binary_dilation(shape, iterations=2) & ~shape])
    if rng.random() < 0.25 and len(beside):
        like = rng.choice(beside)
        level[index] = level[like] + rng.normal() * rng.choice([0.0, 0.06])
        if rng.random() < 0.5:
            texture[index] = texture[like]
    found = level[regions] + texture[regions] * _smooth(rng, int(rng.integers(12, 40)))
    found += (texture * rng.uniform(0, 1))[regions] * _smooth(rng, 64)
    if rng.random() < 0.5:
        found *= 1 + rng.uniform(0, 0.35) * _smooth(rng, 3)
    found = ndimage.gaussian_filter(found, rng.uniform(0, 1.3) * rng.choice([1, 2], p=[0.8, 0.2]))
    found += rng.uniform(0, 0.08) * rng.standard_normal(found.shape)
    return found.astype(np.float32)


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
    own, others, shapes = _each(rng, _dot, shape, _other_shapes(rng, regions, index, shape))
    if rng.random() < 0.7:
        reach = np.sqrt(shape.sum() / np.pi) * rng.uniform(1.6, 3.2)
        away = ndimage.distance_transform_edt(~(own | others)) > reach
        others |= away & (ndimage.distance_transform_edt(away) < rng.uniform(2, 30)) & ~shapes
    return Example(picture, shape, own, others & ~own, np.zeros_like(shape))


def _stroked(rng: np.random.Generator, picture: Plane, shape: Mask, regions: NDArray[np.int64], index: int) -> Example:
    """Strokes along the middle of the shape, of others, and of background."""
    own, others, shapes = _each(rng, _stroke, shape, _other_shapes(rng, regions, index, shape))
    if rng.random() < 0.93:
        background = _background(rng, shapes)
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


def _dot(rng: np.random.Generator, shape: Mask) -> Mask:
    """A small disc somewhere in the inner part."""
    depth = ndimage.distance_transform_edt(shape)
    inner = np.argwhere(depth >= rng.uniform(0.3, 0.8) * depth.max())
    row, column = inner[rng.integers(len(inner))]
    radius = max(1.0, rng.uniform(0.5, 1.0) * min(3.0, 0.35 * depth.max()))
    found: Mask = (np.hypot(ROWS - row, COLUMNS - column) <= radius) & shape
    return found


def _stroke(rng: np.random.Generator, shape: Mask) -> Mask:
    """Pixels along the middle, some of them, with tremor and slips, or a straight scribble."""
    depth = ndimage.distance_transform_edt(shape)
    middle = skeletonize(shape)
    if middle.any():
        middle &= depth >= rng.uniform(0.25, 0.7) * depth[middle].max()
    points = np.argwhere(middle if middle.any() else depth == depth.max())
    if rng.random() < 0.6 and len(points) > 6:
        near = np.hypot(*(points - points[rng.integers(len(points))]).T)
        points = points[near <= rng.uniform(0.25, 1.0) * np.ptp(points, axis=0).max()]
    if rng.random() < 0.12:
        inner = np.argwhere(depth >= 0.4 * depth.max())
        begin, end = inner[rng.integers(len(inner), size=2)]
        straight = np.round(begin + (end - begin) * np.linspace(0, 1, 60)[:, None]).astype(int)
        points = straight[shape[straight[:, 0], straight[:, 1]]]
    found = np.zeros_like(shape)
    found[_trembled(rng, points)] = True
    found |= ndimage.binary_closing(found, np.ones((3, 3)))
    if rng.random() < 0.35:
        kept = found & (_smooth(rng, int(rng.integers(5, 14))) > rng.uniform(-0.7, 0.3))
        found = kept if kept.any() else found
    if rng.random() < 0.5:
        found = ndimage.binary_dilation(found, np.ones((3, 3)) if rng.random() < 0.4 else None)
    if rng.random() < 0.85:
        found &= shape
    return found if found.any() else np.asarray(depth == depth.max())


def _trembled(rng: np.random.Generator, points: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of points, moved a little, neighbours alike."""
    amount, coarse = rng.uniform(0, 1.2), int(rng.integers(4, 12))
    moved = [
        along + np.round(amount * _smooth(rng, coarse)[points[:, 0], points[:, 1]]).astype(int) for along in points.T
    ]
    return np.clip(moved[0], 0, SIDE - 1), np.clip(moved[1], 0, SIDE - 1)


def _background(rng: np.random.Generator, shapes: Mask) -> Mask:
    """Arcs around the shapes and curves across the picture, some pixels off the shapes."""
    far = ndimage.distance_transform_edt(~shapes)
    found = np.zeros_like(shapes)
    if rng.random() < 0.6:
        arc = np.abs(far - rng.uniform(2, 14) - rng.uniform(0, 2.5) * _smooth(rng, 5)) < 0.7
        if rng.random() < 0.7:
            arc &= _smooth(rng, int(rng.integers(3, 7))) > rng.uniform(-0.8, 0.8)
        found |= arc & (far > 1.5)
    if rng.random() < 0.75:
        part = np.linspace(0, 1, 80)[:, None]
        for _ in range(int(rng.integers(1, 4))):
            begin, bend, end = rng.uniform(0, SIDE - 1, (3, 2))
            curve = np.round((1 - part) ** 2 * begin + 2 * part * (1 - part) * bend + part**2 * end).astype(int)
            found[curve[:, 0], curve[:, 1]] = True
        found = ndimage.binary_dilation(found) & (far > rng.uniform(1, 4))
    if rng.random() < 0.35:
        found = ndimage.binary_dilation(found, iterations=2) & (far > 1)
    return found
