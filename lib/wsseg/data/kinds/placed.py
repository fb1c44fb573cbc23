"""Boxes and points as kinds of labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsseg.data.kinds.base import CutScan, ListedKind
from wsseg.data.kinds.coverage import presence_of_marks
from wsseg.data.targets import Targets
from wsseg.errors import WssegError
from wsseg.images.volume import Volume
from wsseg.labels.marks import BANDS, BOX_FILE, POINT_FILE, BoxMark, PointMark, read_boxes, read_points
from wsseg.labels.space import AXIS_COLUMN, BACKGROUND, LabelSpace
from wsseg.labels.tables import AXES

Mark = TypeVar("Mark", BoxMark, PointMark)

REACH = 3.0
"""In radii, how far from a point its piece ends for certain."""

SEED = 0.2
"""In radii, how far from a point its class is taken for certain."""

ROUND = 0.6
"""In-plane radius of a finding, in half its extent over slices: organs are longer than wide."""


class _PlacedKind(ListedKind[Sequence[Mark]]):
    """Marks in a table of the data folder."""

    rough = True

    @abstractmethod
    def _placed(self, marks: Sequence[Mark], scan: CutScan, unknown: Targets) -> Targets:
        """What they say, presence apart."""

    def stored(self, given: Sequence[Mark], grid: Volume, labels: LabelSpace) -> Targets:
        slices = grid.shape[given[0].axis]
        presence = _presence(given, slices, len(labels))
        return replace(Targets.unknown(slices, len(labels), (0, 0)), presence=presence)

    def targets(self, given: Sequence[Mark], scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        unknown = scan.unknown(labels)
        if scan.volume.colour:
            return unknown
        axis = scan.stack.grid.stored_axis
        if other := [mark.axis for mark in given if mark.axis != axis]:
            raise WssegError(
                f"{source / self.table}: {scan.case} has its slices along the stored axis {AXES[axis]}, but"
                f" {self.words} are counted along {AXES[other[0]]}; a column {AXIS_COLUMN} says which"
            )
        slices = scan.volume.shape[axis]
        if beyond := [mark.slice for mark in given if mark.slice >= slices]:
            raise WssegError(f"{source / self.table}: {scan.case} has {slices} slices, slice {beyond[0]} is marked")
        rows, columns = (length for other, length in enumerate(scan.volume.shape) if other != axis)
        for mark in given:
            row, column = mark.farthest
            if row >= rows or column >= columns:
                raise WssegError(
                    f"{source / self.table}: slices of {scan.case} have {rows} rows and {columns} columns,"
                    f" row {row}, column {column} is marked on slice {mark.slice}"
                )
        known = _presence(given, slices, len(labels))
        presence = scan.stack.ordered(np.ascontiguousarray(known.numpy().T))
        return self._placed(given, scan, replace(unknown, presence=presence))

    def lacking(self, targets: Iterable[Targets], labels: LabelSpace) -> list[str]:
        presence = torch.cat([each.presence for each in targets])
        return [
            f"no scan has {self.words} of {name}"
            for column, name in zip(presence.T, labels.names, strict=True)
            if not (column == 1).any()
        ]


class BoxKind(_PlacedKind[BoxMark]):
    """A box, somewhat loose, around each piece of a class on a slice."""

    name, words, table = "boxes", "boxes", BOX_FILE

    def _read(self, path: Path, labels: LabelSpace) -> dict[str, list[BoxMark]]:
        return read_boxes(path, labels)

    def _placed(self, marks: Sequence[BoxMark], scan: CutScan, unknown: Targets) -> Targets:
        boxes = torch.stack(
            [_on_network(scan, _bands(marks, k + 1, scan)) for k in range(unknown.presence.shape[1])], dim=1
        )
        return replace(unknown, boxes=boxes, pixels=_outside(boxes, unknown.presence))

    def bears(self, targets: Targets) -> Tensor:
        return targets.boxes.flatten(1).any(dim=1)


class PointKind(_PlacedKind[PointMark]):
    """A point in each piece of a class on a slice."""

    name, words, table = "points", "points", POINT_FILE

    def _read(self, path: Path, labels: LabelSpace) -> dict[str, list[PointMark]]:
        return read_points(path, labels)

    def _placed(self, marks: Sequence[PointMark], scan: CutScan, unknown: Targets) -> Targets:
        radii = _radii(marks, scan)
        pixels = _on_network(scan, _discs(marks, radii, scan))
        open_slices = (unknown.presence < 0).any(dim=1)
        pixels[open_slices] = torch.where(pixels[open_slices] == BACKGROUND, 0, pixels[open_slices])
        return replace(unknown, pixels=pixels, about=_areas(marks, radii, scan, unknown.presence.shape))

    def bears(self, targets: Targets) -> Tensor:
        return ((targets.pixels > 0) & (targets.pixels < BACKGROUND)).flatten(1).any(dim=1) & ~targets.whole


def _presence(marks: Sequence[BoxMark] | Sequence[PointMark], slices: int, classes: int) -> Tensor:
    marked = torch.zeros(slices, classes, dtype=torch.bool)
    for mark in marks:
        marked[mark.slice, mark.value - 1] = True
    return presence_of_marks(marked, complete=torch.zeros(slices, dtype=torch.bool))


def _on_network(scan: CutScan, stored: NDArray[np.uint8]) -> Tensor:
    """A map (x, y, z) as stored on the network's grid (slices, size, size)."""
    return scan.stack.labels_to_network(np.ascontiguousarray(scan.stack.grid.cut(stored)))


def _bands(marks: Sequence[BoxMark], value: int, scan: CutScan) -> NDArray[np.uint8]:
    """Where in its boxes each voxel lies, as :class:`Targets` packs it."""
    packed = np.zeros(scan.volume.shape, np.uint8)
    for box in marks:
        if box.value == value:
            down = band_of(box.last_row - box.first_row + 1)[:, None]
            along = band_of(box.last_column - box.first_column + 1)[None]
            rows, columns = slice(box.first_row, box.last_row + 1), slice(box.first_column, box.last_column + 1)
            window = np.moveaxis(packed, box.axis, 2)[rows, columns, box.slice]
            window[:] = (down * 16 + along)[: window.shape[0], : window.shape[1]]
    return packed


def band_of(length: int) -> NDArray[np.uint8]:
    """1 and BANDS at the ends of a length, which are there because boxes are loose; in between 2..BANDS - 1 evenly."""
    inner = max(1, length - 2)
    return np.concatenate([[1], 2 + np.arange(inner) * (BANDS - 2) // inner, [BANDS]])[:length].astype(np.uint8)


def _outside(boxes: Tensor, presence: Tensor) -> Tensor:
    """Pixel labels: background outside all boxes of slices on which every class is boxed or known to be absent."""
    complete = (boxes.flatten(2).any(dim=2) | (presence == 0)).all(dim=1)
    outside = complete[:, None, None] & ~boxes.any(dim=1)
    return outside.to(torch.uint8) * BACKGROUND


def _discs(marks: Sequence[PointMark], radii: Sequence[float], scan: CutScan) -> NDArray[np.uint8]:
    """Pixel labels as stored: a small disc of the class around each point, background far from all of them."""
    axis = scan.stack.grid.stored_axis
    stored = np.zeros(scan.volume.shape, np.uint8)
    pixels = np.moveaxis(stored, axis, 2)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    near = np.zeros(pixels.shape, np.bool_)
    step_down, step_right = (step for other, step in enumerate(scan.volume.spacing) if other != axis)
    for mark, radius in zip(marks, radii, strict=True):
        apart = np.hypot((rows - mark.row) * step_down, (columns - mark.column) * step_right)
        near[..., mark.slice] |= apart <= REACH * radius
        pixels[..., mark.slice][apart <= max(step_down, step_right, SEED * radius)] = mark.value
    marked = np.isin(np.arange(pixels.shape[2]), [mark.slice for mark in marks])
    pixels[~near & (pixels == 0) & marked] = BACKGROUND
    return stored


def _radii(marks: Sequence[PointMark], scan: CutScan) -> list[float]:
    """In-plane radius in mm of the piece around each point, an ellipsoid as long as the class is over slices."""
    step = scan.volume.spacing[scan.stack.grid.stored_axis]
    found = []
    for mark in marks:
        slices = [other.slice for other in marks if other.value == mark.value]
        half = step * (max(slices) - min(slices) + 1) / 2
        off = step * (mark.slice - (max(slices) + min(slices)) / 2) / half
        found.append(float(ROUND * half * np.sqrt(max(0.1, 1 - off**2))))
    return found


def _areas(marks: Sequence[PointMark], radii: Sequence[float], scan: CutScan, shape: Sequence[int]) -> Tensor:
    """Of the pieces of each class on each slice (slices, classes), in the network's pixels."""
    stored = np.zeros((shape[1], shape[0]), np.float32)
    for mark, radius in zip(marks, radii, strict=True):
        stored[mark.value - 1, mark.slice] += np.pi * radius**2
    return scan.stack.ordered(stored) / scan.stack.pixel_mm**2
