"""Scans that no model was made for: scans spoilt in one way each, and made-up ones on a scan's grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsseg.images.volume import SliceGrid, Volume

Spoil = Callable[[Volume, np.random.Generator], Volume]


def inverted(scan: Volume, rng: np.random.Generator) -> Volume:
    """Bright is dark: another contrast."""
    return scan.like(scan.voxels.max() - scan.voxels.astype(np.float32))


def folded(scan: Volume, rng: np.random.Generator) -> Volume:
    """Middle grey is dark, both ends are bright: a contrast without order."""
    low, high = np.quantile(scan.voxels, [0.01, 0.99])
    return scan.like(np.abs(2 * np.clip((scan.voxels - low) / (high - low), 0, 1) - 1).astype(np.float32))


def upside_down(scan: Volume, rng: np.random.Generator) -> Volume:
    """Every slice front to back, under a header that does not say so."""
    return _by_slices(scan, lambda slices: slices[:, :, ::-1])


def turned_around(scan: Volume, rng: np.random.Generator) -> Volume:
    """Every slice by half a turn."""
    return _by_slices(scan, lambda slices: slices[:, ::-1, ::-1])


def end_to_end(scan: Volume, rng: np.random.Generator) -> Volume:
    """The last slice first."""
    return _by_slices(scan, lambda slices: slices[::-1])


def shuffled(scan: Volume, rng: np.random.Generator) -> Volume:
    """Slices in any order."""
    return _by_slices(scan, lambda slices: slices[rng.permutation(len(slices))])


def half_the_field(scan: Volume, rng: np.random.Generator) -> Volume:
    """Cut in the middle of its slices."""
    axis = SliceGrid.of(scan).plane_axes[0]
    return Volume(np.ascontiguousarray(scan.voxels.take(range(scan.shape[axis] // 2), axis)), scan.affine)


def half_the_stack(scan: Volume, rng: np.random.Generator) -> Volume:
    """The first half of its slices."""
    axis = SliceGrid.of(scan).stored_axis
    return Volume(np.ascontiguousarray(scan.voxels.take(range(scan.shape[axis] // 2), axis)), scan.affine)


def half_black(scan: Volume, rng: np.random.Generator) -> Volume:
    """Half of every slice without a signal."""
    axis = SliceGrid.of(scan).plane_axes[1]
    dark = np.moveaxis(scan.voxels.copy(), axis, 0)
    dark[: len(dark) // 2] = scan.voxels.min()
    return scan.like(np.ascontiguousarray(np.moveaxis(dark, 0, axis)))


def noise(scan: Volume, rng: np.random.Generator) -> Volume:
    """Nothing but noise."""
    return scan.like(rng.normal(100, 20, scan.shape).astype(np.float32))


def clouds(scan: Volume, rng: np.random.Generator) -> Volume:
    """Smooth noise."""
    blobs = ndimage.gaussian_filter(rng.normal(0, 1, scan.shape), (8, 8, 1))
    return scan.like((blobs - blobs.min()).astype(np.float32))


def ball(scan: Volume, rng: np.random.Generator) -> Volume:
    """A phantom: a ball in a ball."""
    radius = np.sqrt(sum(np.square(axis) for axis in _axes(scan)))
    return scan.like((100.0 * (radius < 0.7) + 60.0 * (radius < 0.3)).astype(np.float32))


def bottle(scan: Volume, rng: np.random.Generator) -> Volume:
    """A phantom: a cylinder of water, with noise."""
    grid = SliceGrid.of(scan)
    axes = _axes(scan)
    radius = np.sqrt(sum(np.square(axes[axis]) for axis in grid.plane_axes))
    return scan.like((100.0 * (radius < 0.8) + rng.normal(0, 3, scan.shape)).astype(np.float32))


def constant(scan: Volume, rng: np.random.Generator) -> Volume:
    """One value everywhere."""
    return scan.like(np.full(scan.shape, 7, np.float32))


SPOILT: tuple[Spoil, ...] = (
    inverted,
    folded,
    upside_down,
    turned_around,
    end_to_end,
    shuffled,
    half_the_field,
    half_the_stack,
    half_black,
    noise,
    clouds,
    ball,
    bottle,
    constant,
)
"""Of scans of grey values."""


def negative(picture: Volume, rng: np.random.Generator) -> Volume:
    """Bright is dark."""
    return Volume(255 - picture.voxels, picture.affine)


def colourless(picture: Volume, rng: np.random.Generator) -> Volume:
    """Grey values in three channels, as in a screenshot of a scan."""
    grey = picture.voxels.mean(axis=-1, keepdims=True).round().astype(np.uint8)
    return Volume(np.repeat(grey, 3, axis=-1), picture.affine)


def swapped(picture: Volume, rng: np.random.Generator) -> Volume:
    """Blue for red."""
    return Volume(np.ascontiguousarray(picture.voxels[..., ::-1]), picture.affine)


def coloured_noise(picture: Volume, rng: np.random.Generator) -> Volume:
    """Nothing but noise."""
    return Volume(rng.integers(0, 256, picture.voxels.shape).astype(np.uint8), picture.affine)


def shrunken(picture: Volume, rng: np.random.Generator) -> Volume:
    """Every fourth pixel: another magnification."""
    return Volume(np.ascontiguousarray(picture.voxels[::4, ::4]), picture.affine)


def one_colour(picture: Volume, rng: np.random.Generator) -> Volume:
    """One colour everywhere."""
    return Volume(np.full_like(picture.voxels, 200), picture.affine)


SPOILT_PICTURES: tuple[Spoil, ...] = (negative, colourless, swapped, coloured_noise, shrunken, one_colour)


def _by_slices(scan: Volume, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Volume:
    grid = SliceGrid.of(scan)
    return scan.like(grid.join(np.ascontiguousarray(change(grid.cut(scan.voxels)))))


def _axes(scan: Volume) -> list[NDArray[np.float64]]:
    """Coordinates of all voxels along each axis, from -1 to 1."""
    return list(np.meshgrid(*(np.linspace(-1, 1, count) for count in scan.shape), indexing="ij"))
