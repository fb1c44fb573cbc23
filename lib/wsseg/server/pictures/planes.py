"""Slices of a scan at their own resolution, as numbers that a canvas shows through any window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsseg.images.volume import SliceGrid, Volume, hung

MOST_AT_ONCE = 32
"""Slices in an answer."""


@dataclass(frozen=True)
class Direction:
    """A direction of a picture in the stored scan.

    Attributes:
        axis: the stored axis that it runs along.
        pixels: their number.
        mm: of one.
        flipped: whether the first pixel is the last one stored.
    """

    axis: int
    pixels: int
    mm: float
    flipped: bool


@dataclass(frozen=True)
class Numbers:
    """Slices as 16-bit numbers.

    Attributes:
        codes: (slices, rows, columns) uint16; of a colour picture (1, rows, columns, 3) uint8.
        slope, intercept: an intensity is ``slope * code + intercept``.
    """

    codes: NDArray[Any]
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class Planes:
    """How a scan is cut into pictures, each hung as radiologists do, in stored order.

    Attributes:
        grid: of its slices.
        slices: their number.
        right, down: of a picture.
    """

    grid: SliceGrid
    slices: int
    right: Direction
    down: Direction

    @classmethod
    def of(cls, scan: Volume, default_axis: int = 2) -> Planes:
        """For a scan, whose voxels are not looked at; ``default_axis`` as :class:`SliceGrid` has it."""
        grid = SliceGrid.of(scan, default_axis)
        # A picture is hung by turning round both canonical axes, which may run against the stored ones.
        right, down = (
            Direction(axis, scan.shape[axis], scan.spacing[axis], bool(grid.orientation[axis, 1] > 0))
            for axis in grid.plane_axes
        )
        return cls(grid, scan.shape[grid.stored_axis], right, down)

    def cut(self, voxels: NDArray[Any], first: int = 0, count: int | None = None) -> NDArray[Any]:
        """Pictures (slices, down, right) of some slices in stored order, colours last."""
        stored = self.grid.cut(voxels)
        ordered = stored[::-1] if self.grid.reversed else stored
        return hung(ordered[first : None if count is None else first + count], (1, 2))

    def numbers(self, voxels: NDArray[Any], first: int, count: int) -> Numbers:
        """Some slices of a scan as numbers.

        Whole numbers that fit are told as they are, others in 65,536 steps from
        the scan's least value to its greatest.
        """
        planes = self.cut(voxels, first, count)
        if voxels.ndim == 4 or voxels.dtype in (np.uint8, np.uint16):
            return Numbers(np.ascontiguousarray(planes, np.uint8 if voxels.ndim == 4 else np.uint16))
        if voxels.dtype in (np.int8, np.int16):
            return Numbers((planes.astype(np.int32) + 32768).astype(np.uint16), 1.0, -32768.0)
        low, high = float(voxels.min()), float(voxels.max())
        slope = (high - low) / 65535 or 1.0
        return Numbers(np.round((planes.astype(np.float64) - low) / slope).astype(np.uint16), slope, low)
