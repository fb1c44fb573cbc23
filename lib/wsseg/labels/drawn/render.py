"""Drawings as what files and training know: pixel labels, points and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from numpy.typing import NDArray

from wsseg.images.volume import Volume
from wsseg.labels.drawn.drawing import Drawing, Tool
from wsseg.labels.marks import BoxMark, PointMark
from wsseg.labels.space import BACKGROUND, LabelSpace, StrokeKind
from wsseg.labels.values import CORRECTIONS, Scribbles, WeakLabels

DRAWN: dict[StrokeKind, str] = {"scribbles": "scribble", CORRECTIONS: "correction"}
"""Kinds of maps, and how names of their files end."""


@dataclass(frozen=True)
class Rendered:
    """All that is drawn on a scan.

    Attributes:
        scribbles: strokes, (x, y, z) as in :data:`Scribbles`.
        corrections: where a brush went or a point says "none", in the same values.
        boxes, points: of classes.
        nowhere: points that say "none", which are corrections too.
    """

    scribbles: Scribbles
    corrections: Scribbles
    boxes: tuple[BoxMark, ...]
    points: tuple[PointMark, ...]
    nowhere: tuple[PointMark, ...] = ()

    @property
    def maps(self) -> dict[str, Scribbles]:
        """Those on which something is drawn, by how names of their files end."""
        named = {"scribble": self.scribbles, "correction": self.corrections}
        return {ending: voxels for ending, voxels in named.items() if voxels.any()}

    @property
    def pixels(self) -> Scribbles:
        """What is certain of each voxel, as in :data:`Scribbles`: strokes, corrections and points."""
        found = np.where(self.corrections > 0, self.corrections, self.scribbles)
        for point in self.points:
            np.moveaxis(found, point.axis, 2)[point.row, point.column, point.slice] = point.value
        return found

    @property
    def empty(self) -> bool:
        """Whether nothing is drawn."""
        return not (self.boxes or self.points or self.scribbles.any() or self.corrections.any())


def render(
    drawings: Sequence[Drawing],
    grid: Volume,
    labels: LabelSpace,
    scribbles: Scribbles | None = None,
    corrections: Scribbles | None = None,
) -> Rendered:
    """Draw one thing over the other, in their order; what says nothing of the classes is left out.

    Args:
        drawings: of one scan, the oldest first.
        grid: of the scan, whose voxels are not looked at.
        labels: the classes.
        scribbles, corrections: below them all, as they came from files or viewers.
    """
    strokes = np.zeros(grid.shape, np.uint8) if scribbles is None else scribbles.copy()
    brushed = np.zeros(grid.shape, np.uint8) if corrections is None else corrections.copy()
    boxes: list[BoxMark] = []
    points: list[PointMark] = []
    nowhere: list[PointMark] = []
    for drawing in drawings:
        value = drawing.value(labels)
        if value is None:
            continue
        if drawing.tool == Tool.BOX:
            boxes.append(_box(drawing, value, grid))
            continue
        here = np.zeros(_size(drawing, grid)[0], np.bool_)
        for window, covered in _covered(drawing, grid):
            here[window] |= covered
        points = [mark for mark in points if not _lies(mark, drawing, here)]
        nowhere = [mark for mark in nowhere if not _lies(mark, drawing, here)]
        for voxels in (strokes, brushed):
            _plane(voxels, drawing)[here] = 0
        if drawing.tool == Tool.POINT:
            (nowhere if value == BACKGROUND else points).append(_point(drawing, value, grid))
        if drawing.tool != Tool.POINT or value == BACKGROUND:
            _plane(strokes if drawing.tool == Tool.STROKE else brushed, drawing)[here] = value
    return Rendered(strokes, brushed, tuple(boxes), tuple(points), tuple(nowhere))


def drawn_on(known: WeakLabels, grid: Volume, labels: LabelSpace, prompted: Sequence[Drawing] = ()) -> Rendered:
    """:func:`render` with all that is known of a scan, and with what is drawn over it for once."""
    drawings = [*(each.drawing for each in known.drawings), *prompted]
    return render(drawings, grid, labels, known.scribbles, known.corrections)


def drawing_of(mark: BoxMark | PointMark, labels: LabelSpace) -> Drawing:
    """A mark of a table as a drawing, always the same one."""
    label = labels.names[mark.value - 1]
    if isinstance(mark, BoxMark):
        tool, points = Tool.BOX, [(mark.first_row, mark.first_column), (mark.last_row, mark.last_column)]
    else:
        tool, points = Tool.POINT, [(mark.row, mark.column)]
    id = str(uuid5(NAMESPACE_OID, f"wsseg {tool} {label} {mark.axis} {mark.slice} {points}"))
    return Drawing(
        id=id, tool=tool, label=label, classes=labels.names, axis=mark.axis, slice=mark.slice, points=tuple(points)
    )


def _lies(mark: PointMark, drawing: Drawing, here: NDArray[np.bool_]) -> bool:
    """Whether a point lies where something is drawn over it, ``here`` on the slice."""
    return (mark.axis, mark.slice) == (drawing.axis, drawing.slice) and bool(here[mark.row, mark.column])


def _plane(voxels: NDArray[np.uint8], drawing: Drawing) -> NDArray[np.uint8]:
    """The slice of a drawing, as a view."""
    return np.moveaxis(voxels, drawing.axis, 2)[..., drawing.slice]


def _size(drawing: Drawing, grid: Volume) -> tuple[tuple[int, int], tuple[float, float]]:
    """Voxels of the slice of a drawing along its two axes, and their millimetres."""
    first, second = (axis for axis in range(3) if axis != drawing.axis)
    return (grid.shape[first], grid.shape[second]), (grid.spacing[first], grid.spacing[second])


def _voxel(point: tuple[float, float], shape: tuple[int, int]) -> tuple[int, int]:
    row, column = (min(max(round(at), 0), size - 1) for at, size in zip(point, shape, strict=True))
    return row, column


def _box(drawing: Drawing, value: int, grid: Volume) -> BoxMark:
    shape, _ = _size(drawing, grid)
    (top, left), (bottom, right) = (_voxel(point, shape) for point in drawing.points)
    limits = (min(top, bottom), min(left, right), max(top, bottom), max(left, right))
    return BoxMark(value, drawing.slice, *limits, axis=drawing.axis)


def _point(drawing: Drawing, value: int, grid: Volume) -> PointMark:
    row, column = _voxel(drawing.points[0], _size(drawing, grid)[0])
    return PointMark(value, drawing.slice, row, column, axis=drawing.axis)


def _covered(drawing: Drawing, grid: Volume) -> list[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Windows of the slice, and which voxels of each lie within the radius of a piece of the line, in millimetres."""
    shape, step = _size(drawing, grid)
    radius = max(drawing.radius_mm, max(step) / 2)
    points = np.array(drawing.points, float)
    found = []
    for begin, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        low = np.floor(np.minimum(begin, end) - np.divide(radius, step)).astype(int).clip(0)
        high = np.minimum(np.ceil(np.maximum(begin, end) + np.divide(radius, step)).astype(int) + 1, shape)
        if (low >= high).any():
            continue
        rows, columns = np.ogrid[low[0] : high[0], low[1] : high[1]]
        down, along = (rows - begin[0]) * step[0], (columns - begin[1]) * step[1]
        line = (end - begin) * step
        length = float(line @ line)
        part = np.clip((down * line[0] + along * line[1]) / length, 0, 1) if length else 0.0
        covered = np.hypot(down - part * line[0], along - part * line[1]) <= radius
        found.append(((slice(low[0], high[0]), slice(low[1], high[1])), covered))
    return found
