"""Boxes and points in CSV tables: where on which slice a class is, in voxels of the stored scan."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsseg.errors import WssegError
from wsseg.labels.space import AXIS_COLUMN, LabelSpace
from wsseg.labels.tables import AXES, axis_named
from wsseg.spreadsheets import read_table

BOX_FILE, POINT_FILE = "boxes.csv", "points.csv"
"""The tables of a data folder."""

BANDS = 15
"""Parts that the height and the width of a box are told in on a map: where in its box a pixel lies, in one byte."""

_BOX_LIMITS = ("first_row", "first_column", "last_row", "last_column")
_POINT_PLACE = ("row", "column")


@dataclass(frozen=True)
class BoxMark:
    """A box around a piece of a class on a slice; limits belong to it.

    Attributes:
        value: of the class, 1..N.
        slice: index along a stored axis; rows and columns count along the two others, the lower first.
        axis: which it is, 0, 1 or 2.
    """

    value: int
    slice: int
    first_row: int
    first_column: int
    last_row: int
    last_column: int
    axis: int = 2

    @property
    def farthest(self) -> tuple[int, int]:
        """Its last row and column, which a scan has to have."""
        return self.last_row, self.last_column


@dataclass(frozen=True)
class PointMark:
    """A point somewhere inside a piece of a class on a slice; axes as in :class:`BoxMark`."""

    value: int
    slice: int
    row: int
    column: int
    axis: int = 2

    @property
    def farthest(self) -> tuple[int, int]:
        """Its row and column, which a scan has to have."""
        return self.row, self.column


def read_boxes(path: Path, labels: LabelSpace) -> dict[str, list[BoxMark]]:
    """Read boxes by case: columns ``case, slice, label, first_row, first_column, last_row, last_column``.

    A column ``slice_axis`` of i, j or k names the stored axis of the slices, by default the third.

    Raises:
        WssegError: not such a table, an unknown class, or a box without extent.
    """
    found: dict[str, list[BoxMark]] = {}
    for case, place, numbers, axis in _marks(path, labels, _BOX_LIMITS):
        box = replace(BoxMark(*numbers), axis=axis)
        if box.last_row < box.first_row or box.last_column < box.first_column:
            raise WssegError(f"{place}: the box ends before it begins")
        found.setdefault(case, []).append(box)
    return found


def read_points(path: Path, labels: LabelSpace) -> dict[str, list[PointMark]]:
    """Read points by case: columns ``case, slice, label, row, column``; ``slice_axis`` as in :func:`read_boxes`.

    Raises:
        WssegError: not such a table, or an unknown class.
    """
    found: dict[str, list[PointMark]] = {}
    for case, _, numbers, axis in _marks(path, labels, _POINT_PLACE):
        found.setdefault(case, []).append(replace(PointMark(*numbers), axis=axis))
    return found


def write_boxes(path: Path, boxes: Mapping[str, Sequence[BoxMark]], labels: LabelSpace) -> None:
    """Write what :func:`read_boxes` reads."""
    _write(path, boxes, labels, _BOX_LIMITS)


def write_points(path: Path, points: Mapping[str, Sequence[PointMark]], labels: LabelSpace) -> None:
    """Write what :func:`read_points` reads."""
    _write(path, points, labels, _POINT_PLACE)


def _write(
    path: Path, marks: Mapping[str, Sequence[BoxMark | PointMark]], labels: LabelSpace, columns: tuple[str, ...]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "slice", AXIS_COLUMN, "label", *columns])
        for case in sorted(marks):
            for mark in marks[case]:
                place = [getattr(mark, column) for column in columns]
                writer.writerow([case, mark.slice, AXES[mark.axis], labels.names[mark.value - 1], *place])


def _marks(path: Path, labels: LabelSpace, columns: tuple[str, ...]) -> Iterator[tuple[str, str, list[int], int]]:
    """Each line's case, its place for messages, value, slice and coordinates, and the axis of the slice."""
    values = labels.values()
    for line, row in read_table(path, {"case", "slice", "label", *columns})[1]:
        place = f"{path}, line {line}"
        if row["label"] not in values:
            raise WssegError(f'{place}: label "{row["label"]}" is unknown, known are: {", ".join(values)}')
        numbers = [values[row["label"]], *(_whole(row[c], c, place) for c in ("slice", *columns))]
        yield row["case"], place, numbers, axis_named(row.get(AXIS_COLUMN), place)


def _whole(text: str | None, column: str, place: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", text or ""):
        raise WssegError(f"{place}: {column} must be a whole number from 0 to 99999, not {(text or '')[:20]!r}")
    return int(text or "")
