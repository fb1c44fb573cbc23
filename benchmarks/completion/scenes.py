"""Random regions of a picture, and their grey values: they mean nothing (as in SynthSeg, Billot et al. 2023)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIDE = 128
"""Pixels along a picture."""

Mask: TypeAlias = NDArray[np.bool_]
Plane: TypeAlias = NDArray[np.float32]

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE].astype(np.float32)


def smooth(rng: np.random.Generator, coarse: int) -> Plane:
    """A random surface of about unit deviation, with so many bumps along a side."""
    bumps = rng.standard_normal((coarse, coarse)).astype(np.float32)
    wide: Plane = ndimage.zoom(bumps, SIDE / coarse, order=3 if coarse > 3 else 1, mode="reflect", grid_mode=True)
    return wide[:SIDE, :SIDE]


def patchwork(rng: np.random.Generator) -> NDArray[np.int64]:
    """The picture in regions, 0 to N: a patchwork, on it ellipses, rings, crescents and tubes."""
    count = int(rng.integers(3, 9))
    found: NDArray[np.int64] = np.stack([smooth(rng, int(rng.integers(3, 10))) for _ in range(count)]).argmax(axis=0)
    for _ in range(int(rng.integers(1, 4))):
        away = _ellipse(rng)
        if rng.random() < 0.45:
            found = np.where(away < 1 + rng.uniform(0.2, 0.6), found.max() + 1, found)
        found = np.where(away < 1, found.max() + 1, found)
    if rng.random() < 0.35:
        tubes = np.abs(smooth(rng, int(rng.integers(3, 6)))) < rng.uniform(0.03, 0.15)
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
    away: Plane = np.hypot(along, across) + rng.uniform(0, 0.25) * smooth(rng, int(rng.integers(4, 9)))
    if rng.random() < 0.3:
        away = np.maximum(away, 1.5 - np.hypot(along - rng.uniform(-0.6, 0.6), across - 0.7))
    return away


def one_of(rng: np.random.Generator, regions: NDArray[np.int64]) -> int:
    """A region, as a rule one that lies on the patchwork."""
    last = int(regions.max())
    return int(rng.integers(last + 1)) if rng.random() < 0.4 else last - int(rng.integers(0, min(3, last + 1)))


def piece(rng: np.random.Generator, region: Mask) -> Mask | None:
    """One piece of a region, large ones more often."""
    pieces, count = ndimage.label(region)
    if not count:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    found: Mask = pieces == 1 + rng.choice(count, p=sizes / sizes.sum())
    return found


def is_cut(shape: Mask) -> bool:
    """Whether it goes on beyond the picture."""
    return bool(shape[0].any() or shape[-1].any() or shape[:, 0].any() or shape[:, -1].any())


def speckled(rng: np.random.Generator, regions: NDArray[np.int64], shape: Mask) -> NDArray[np.int64]:
    """With vessels, muscles, calcifications in the shape, which belong to it."""
    bumps = smooth(rng, int(rng.integers(14, 36)))
    spots = shape & (bumps > np.quantile(bumps[shape], rng.uniform(0.8, 0.97)))
    if rng.random() < 0.5:
        spots &= ndimage.distance_transform_edt(shape) > 1.5
    return np.where(spots, regions.max() + 1, regions)


def painted(rng: np.random.Generator, regions: NDArray[np.int64], index: int, shape: Mask) -> Plane:
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
    found = level[regions] + texture[regions] * smooth(rng, int(rng.integers(12, 40)))
    found += (texture * rng.uniform(0, 1))[regions] * smooth(rng, 64)
    if rng.random() < 0.5:
        found *= 1 + rng.uniform(0, 0.35) * smooth(rng, 3)
    found = ndimage.gaussian_filter(found, rng.uniform(0, 1.3) * rng.choice([1, 2], p=[0.8, 0.2]))
    found += rng.uniform(0, 0.08) * rng.standard_normal(found.shape)
    return found.astype(np.float32)
