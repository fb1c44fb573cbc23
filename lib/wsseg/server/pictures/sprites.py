"""All slices of a scan in one picture, and the same of its mask, for the annotation page."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsseg.evaluation.preview import mosaic, window, windowed
from wsseg.images.volume import Scalar, SliceGrid, Volume, hung

LONG_SIDE = 128
"""Pixels of a tile, or those of a picture that is alone in its sprite: at least so many, at most ``ALONE``."""

ALONE = 768

SOFT_TISSUE = (-150.0, 250.0)
"""Hounsfield units that are black and white in a CT, as the page shows its slices at first."""

_OPAQUE = 110
"""Of a mask's colours, in 255."""

_QUALITY = 85


@dataclass(frozen=True)
class Sprite:
    """Tiles in stored slice order, row by row, each hung as radiologists do.

    Attributes:
        grid: how the scan is cut into slices.
        slices: number of tiles.
        columns: tiles in a row.
        width, height: of a tile in pixels, which are square in millimetres.
    """

    grid: SliceGrid
    slices: int
    columns: int
    width: int
    height: int

    @classmethod
    def of(cls, scan: Volume, default_axis: int = 2) -> Sprite:
        """The layout for a scan, whose voxels are not looked at; ``default_axis`` as :class:`SliceGrid` has it."""
        grid = SliceGrid.of(scan, default_axis)
        across, down = (scan.shape[axis] * scan.spacing[axis] for axis in grid.plane_axes)
        slices = scan.shape[grid.stored_axis]
        own = max(scan.shape[axis] for axis in grid.plane_axes) if slices == 1 else LONG_SIDE
        scale = min(max(own, LONG_SIDE), ALONE) / max(across, down)
        width, height = (max(1, round(side * scale)) for side in (across, down))
        return cls(grid, slices, math.ceil(math.sqrt(slices)), width, height)

    def picture(self, scan: Volume, ends: tuple[float, float] | None = None) -> bytes:
        """The scan as JPEG, colours as they are; ``ends`` are black and white, by default what its own voxels tell."""
        cut = self.grid.cut(scan.voxels)
        # Every other pixel of a fine grid is still two for each of the tile's.
        step = max(1, min(cut.shape[1:3]) // (2 * max(self.width, self.height)))
        planes = (plane[::step, ::step] for plane in self._planes(scan.voxels))
        if not scan.colour:
            # Some of the voxels tell the window as well as all, in a fraction of the time.
            shown = ends or window(cut[:, ::4, ::4])
            planes = ((windowed(plane, shown) * 255).astype(np.uint8) for plane in planes)
        return _encoded(mosaic([self._tile(plane) for plane in planes], self.columns), "JPEG", quality=_QUALITY)

    def overlay(self, mask: Volume, colors: Sequence[tuple[int, int, int]]) -> bytes:
        """A mask as PNG, transparent where nothing is marked; ``colors`` of classes 1..N."""
        palette = np.zeros((256, 4), np.uint8)
        palette[1 : len(colors) + 1] = [(*color, _OPAQUE) for color in colors]
        clear = Image.new("RGBA", (self.width, self.height))
        tiles = [self._tile(palette[plane]) if plane.any() else clear for plane in self._planes(mask.voxels)]
        return _encoded(mosaic(tiles, self.columns), "PNG", compress_level=1)

    def _planes(self, voxels: NDArray[Scalar]) -> Iterator[NDArray[Scalar]]:
        slices = self.grid.cut(voxels)
        return map(hung, slices[::-1] if self.grid.reversed else slices)

    def _tile(self, plane: NDArray[np.uint8]) -> Image.Image:
        return Image.fromarray(plane).resize((self.width, self.height), Image.Resampling.BILINEAR, reducing_gap=2.0)


def side_by_side(images: NDArray[np.uint8], masks: NDArray[np.uint8], colors: Sequence[tuple[int, int, int]]) -> bytes:
    """Slices (n, rows, columns) with their masks laid over, beside each other, as PNG; ``colors`` of classes 1..N."""
    palette = np.zeros((256, 3), np.float32)
    palette[1 : len(colors) + 1] = colors
    part = np.where(masks > 0, _OPAQUE / 255, 0)[..., None]
    shown = images[..., None] * (1 - part) + palette[masks] * part
    return _encoded(Image.fromarray(np.concatenate(list(shown), axis=1).astype(np.uint8)), "PNG", compress_level=1)


def _encoded(picture: Image.Image, kind: str, **settings: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **settings)
    return out.getvalue()
