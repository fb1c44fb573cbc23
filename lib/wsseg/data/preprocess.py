"""From a volume to what a network sees, and from its answer back to the volume.

Slices are scaled in intensity by the scan's own tissue, cropped to the head or
body by one box per volume, and resampled to a small square; probabilities go
the opposite way to the scan's native pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from wsseg.data.air import find_air, reaching_border, without_padding
from wsseg.errors import WssegError
from wsseg.images.pieces import extent
from wsseg.images.volume import SliceGrid, Volume, hung
from wsseg.models.package import Recipe

AIR = 0.08
"""Tissue is what exceeds this part of the scan's bright end."""


OUTSIDE_BODY = -300.0
"""Hounsfield units below which there is air or a pillow; lungs are inside the outline of the body."""


BRIGHT = 2.5
"""Intensity 1 of the network's range [-1, 1], in medians of the tissue, by default.

FLAIR glioma lies at 1.4 to 2.2 medians, so this keeps it inside the range.
"""


MOST_PIXELS = 1 << 30
"""Native pixels of a whole scan's windows, 4 GiB; 1,024 slices of 1,024 pixels a side."""


@dataclass(frozen=True)
class View:
    """How a network wants to see a scan.

    Attributes:
        size: of its square input in pixels.
        axis: of slices where spacing does not tell: 0, 1, 2 for R, A, S.
        pixel_mm: the window is ``size`` pixels of so much around the slices'
            middle; 0 fits it to the tissue instead.
        bright: intensity 1 of the network's range [-1, 1], in medians of the tissue.
        colour: wants colour pictures, whole, at their own resolution.
        windows: lowest and highest Hounsfield unit of each channel of a CT; empty
            for other scans, whose unit means nothing.
    """

    size: int
    axis: int = 2
    pixel_mm: float = 0.0
    bright: float = BRIGHT
    colour: bool = False
    windows: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, recipe: Recipe) -> View:
        """What a model's metadata asks for."""
        return cls(recipe.size, recipe.axis, recipe.pixel_mm, recipe.bright, recipe.colour, recipe.windows)


@dataclass(frozen=True)
class Box:
    """A window of the slices in pixels, square in millimetres; it may reach over the border."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Stack:
    """The slices of one volume as a network sees them, with the way back.

    Attributes:
        images: (slices, 1, size, size) float32 in [-1, 1], or a channel for each
            window of a CT; of a colour picture (1, 3, height, width), upright.
        native: (slices, rows, columns) float32, the (first) channel at native pixels.
        tissue: (slices, rows, columns) bool at native pixels, holes filled.
        air: where there surely is air around it, of the same shape; none in pictures.
        grid: how the volume was cut.
        box: the window of each slice that ``images`` shows.
        spacing: of native rows and columns in mm.
        upright: whether ``images`` are :func:`hung`; else they lie as cut.
    """

    images: Tensor
    native: NDArray[np.float32]
    tissue: NDArray[np.bool_]
    air: NDArray[np.bool_]
    grid: SliceGrid
    box: Box
    spacing: tuple[float, float]
    upright: bool = False

    @property
    def window_mm(self) -> float:
        """Side of the window, which is a square."""
        return self.box.height * self.spacing[0]

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel of ``images``."""
        return self.window_mm / self.images.shape[-1]

    def ordered(self, labels: NDArray[np.int8] | NDArray[np.float32]) -> Tensor:
        """What is said of classes (classes, slices), as stored along the slices' axis, as (slices, classes) as cut."""
        turned = labels[:, ::-1] if self.grid.reversed else labels
        return torch.from_numpy(np.ascontiguousarray(turned.T))

    def depth_mm(self, slices: NDArray[np.intp]) -> NDArray[np.float32]:
        """In-plane depth of native pixels under the outline of the tissue, 0 in air.

        Args:
            slices: indices of those that it is wanted of.

        Returns:
            (len(slices), rows, columns).
        """
        found = np.empty((len(slices), *self.tissue.shape[1:]), np.float32)
        for depth, plane in zip(found, self.tissue[slices], strict=True):
            depth[:] = ndimage.distance_transform_edt(plane, self.spacing)
        return found

    def to_network(self, maps: NDArray[np.float32]) -> Tensor:
        """Native maps (slices, rows, columns) as the network would see them, (slices, size, size); 0 around them."""
        window = functional.pad(torch.from_numpy(maps)[:, None], _padding(self.box, maps.shape[1:]))
        turned = self._turned(window)
        return functional.interpolate(turned, self.images.shape[2:], mode="bilinear", antialias=True)[:, 0]

    def labels_to_network(self, labels: NDArray[np.uint8]) -> Tensor:
        """Native pixel labels (slices, rows, columns), uint8, on the network's grid, the nearest; 0 around them."""
        window = functional.pad(torch.from_numpy(labels)[:, None], _padding(self.box, labels.shape[1:]))
        return functional.interpolate(self._turned(window), self.images.shape[2:], mode="nearest-exact")[:, 0]

    def to_native(self, maps: Tensor) -> NDArray[np.float32]:
        """Maps (slices, classes, size, size) to (slices, classes, rows, columns).

        Bilinear; pixels outside the window are 0.
        """
        rows, columns = self.tissue.shape[1:]
        shape, outwards = (self.box.height, self.box.width), [-side for side in _padding(self.box, (rows, columns))]
        turned = self._turned(maps.float())
        found = np.empty((*maps.shape[:2], rows, columns), np.float32)
        for plane, own in zip(found, turned, strict=True):  # slice by slice: all of a large CT are gigabytes, once
            window = functional.interpolate(own[None], size=shape, mode="bilinear", align_corners=False)
            plane[:] = functional.pad(window, outwards)[0].numpy()
        return found

    def extent(self, maps: Tensor, least: float) -> tuple[slice, slice]:
        """Native rows and columns outside of which :meth:`to_native` has nothing above ``least``, and a pixel more.

        Args:
            maps: (slices, classes, size, size) on the CPU, of slices that lie as cut.
        """
        shown, sides = (maps > least).flatten(0, 1).any(dim=0).numpy(), []
        places = extent(shown) if shown.any() else (slice(0, 1), slice(0, 1))
        ends = ((self.box.top, self.box.height), (self.box.left, self.box.width))
        for place, (begin, length), size, native in zip(places, ends, shown.shape, self.tissue.shape[1:], strict=True):
            # A pixel of the network's reaches as far as the middles of those beside it.
            first, last = (begin + at * length / size for at in (place.start - 0.5, place.stop + 0.5))
            start = int(np.clip(np.floor(first) - 1, 0, native - 1))
            sides.append(slice(start, int(np.clip(np.ceil(last) + 1, start + 1, native))))
        return sides[0], sides[1]

    def cropped(self, rows: slice, columns: slice) -> Stack:
        """The same of some native rows and columns; what looks beyond them, as :meth:`depth_mm`, is wrong in it."""
        inner = (slice(None), rows, columns)
        box = replace(self.box, top=self.box.top - (rows.start or 0), left=self.box.left - (columns.start or 0))
        return replace(self, native=self.native[inner], tissue=self.tissue[inner], air=self.air[inner], box=box)

    def _turned(self, maps: Tensor) -> Tensor:
        """Maps (..., rows, columns) as cut to how ``images`` lie, and back."""
        return torch.from_numpy(hung(maps.numpy(), (-2, -1)).copy()) if self.upright else maps


def prepare(volume: Volume, view: View) -> Stack:
    """Cut, scale, crop and resample a volume to the squares that a network sees; leave pictures as they are.

    Raises:
        WssegError: colour for a network that reads grey values, or the other way
            round; or a window of more pixels than :data:`MOST_PIXELS`.
    """
    if volume.colour != view.colour:
        kinds = ("grey values", "colour pictures")
        raise WssegError(f"the scan holds {kinds[volume.colour]}, the model reads {kinds[view.colour]}")
    if volume.colour:
        return _picture(volume)
    grid = SliceGrid.of(volume, view.axis)
    slices = np.ascontiguousarray(grid.cut(volume.voxels), dtype=np.float32)
    if view.windows:
        scaled, tissue, air = slices, _solid(slices > OUTSIDE_BODY), np.zeros_like(slices, np.bool_)
    else:
        scaled, tissue, air = scale_intensity(slices, view.bright)
    down, right = (volume.spacing[axis] for axis in grid.plane_axes)
    if view.pixel_mm:
        box = _middle(tissue.shape[1:], (down, right), view.size * view.pixel_mm)
    else:
        box = _window(tissue, (down, right))
    if len(slices) * box.height * box.width > MOST_PIXELS:
        raise WssegError(
            f"the scan has {len(slices)} slices of which the model looks at {box.height} x {box.width} pixels:"
            f" more than {MOST_PIXELS / 1e9:.1f} billion, check its spacing and the model's pixel_mm"
        )
    resampled = [
        _resampled(in_windows(plane, view.windows) if view.windows else plane[None], box, view.size) for plane in scaled
    ]
    native = in_windows(scaled, view.windows[:1])[0] if view.windows else scaled
    return Stack(torch.stack(resampled), native, tissue, air, grid, box, (down, right))


def _resampled(channels: NDArray[np.float32], box: Box, size: int) -> Tensor:
    """The window of one slice (channels, rows, columns) as a network sees it, (channels, size, size)."""
    window = functional.pad(torch.from_numpy(channels), _padding(box, channels.shape[1:]), value=-1.0)
    square = functional.interpolate(window[None], (size, size), mode="bilinear", antialias=True, align_corners=False)
    return square[0].clamp(-1, 1)


def _picture(volume: Volume) -> Stack:
    """Upright, since networks that have learned from pictures in general know them so."""
    grid = SliceGrid.of(volume)
    pixels = grid.cut(volume.voxels)
    *shape, _ = pixels.shape
    # Brought to floating point in place, and everywhere is one voxel: large pictures are what memory ends at.
    images = torch.from_numpy(np.moveaxis(hung(pixels, (1, 2)), -1, 1).copy()).float()
    images.div_(127.5).sub_(1)
    native = pixels.mean(axis=-1, dtype=np.float32) / np.float32(127.5) - 1
    everywhere, nowhere = (np.broadcast_to(np.bool_(is_tissue), shape) for is_tissue in (True, False))
    return Stack(images, native, everywhere, nowhere, grid, Box(0, 0, *shape[1:]), (1.0, 1.0), upright=True)


def _padding(box: Box, shape: Sequence[int]) -> list[int]:
    """What turns slices of ``shape`` into their window, as ``pad`` wants it; negative crops."""
    rows, columns = shape
    return [-box.left, box.left + box.width - columns, -box.top, box.top + box.height - rows]


Scaled = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]
"""Slices (slices, rows, columns) in [-1, 1]; where there is tissue, without holes; where there is air."""


def scale_intensity(slices: NDArray[np.float32], brightest: float = BRIGHT) -> Scaled:
    """Scale a scan (slices, rows, columns) so that air is -1 and ``brightest`` medians of its tissue are 1.

    Independent of the scan's unit, any positive factor and offset cancel; and of
    what the air around the body looks like, which need not be the darkest.
    """
    inner = (slice(None), *without_padding(slices))
    low, high = np.percentile(slices[inner], 0.5), np.percentile(slices, 99.5)
    if high <= low:
        low, high = slices.min(), slices.max()
    level = (slices - low) / (high - low)
    air = np.ones(level.shape, np.bool_)
    air[inner], least = find_air(level[inner], AIR)
    bright = (level > least) & ~air
    reference = float(np.median(level[bright])) if bright.any() else 1.0
    scaled = np.clip(level / (brightest * reference), 0, 1) * 2 - 1
    scaled[air] = -1
    return scaled.astype(np.float32, copy=False), _solid(bright), air


def in_windows(units: NDArray[np.float32], windows: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Hounsfield units (...) as (windows, ...): each window's lowest is -1 and its highest 1."""
    found = np.empty((len(windows), *units.shape), np.float32)
    for channel, (low, high) in zip(found, windows, strict=True):
        np.subtract(units, (low + high) / 2, out=channel)
        channel /= (high - low) / 2
        np.clip(channel, -1, 1, out=channel)
    return found


def _solid(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Per slice: specks removed, holes filled."""
    return np.stack([~reaching_border(~plane) for plane in _opened(bright)])


def _opened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Opening in plane by a diamond of radius 2, of all slices at once, which SciPy takes ten times as long for."""
    for join in (np.logical_and, np.logical_and, np.logical_or, np.logical_or):
        padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
        mask = mask.copy()
        for beside in (padded[:, 2:, 1:-1], padded[:, :-2, 1:-1], padded[:, 1:-1, 2:], padded[:, 1:-1, :-2]):
            join(mask, beside, out=mask)
    return mask


def _middle(shape: Sequence[int], spacing: Sequence[float], side: float) -> Box:
    """A square of ``side`` mm around the middle of the slices."""
    height, width = (max(1, round(side / step)) for step in spacing)
    return Box((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)


def _window(tissue: NDArray[np.bool_], spacing: Sequence[float]) -> Box:
    """The smallest square, in mm, around what is tissue in a quarter of the slices.

    A nose or a table seen in few slices does not widen it.
    """
    plane = tissue.mean(axis=0) >= 0.25
    if not plane.any():
        plane = np.ones_like(plane)
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max((bottom - top) * spacing[0], (right - left) * spacing[1])
    height, width = (max(1, round(side / step)) for step in spacing)
    return Box(int(top + bottom - height) // 2, int(left + right - width) // 2, height, width)
