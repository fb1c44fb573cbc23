"""One thing that somebody drew on one slice, in voxels of the stored scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from wsseg.errors import WssegError
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.space import About, LabelSpace

BACKGROUND_NAME = "background"
"""What is drawn as none of the classes."""

KIND: Final = "drawing"
"""Of these labels in the database, where each is told apart by its id."""


class Tool(StrEnum):
    """What it was drawn with, which says what it means.

    A stroke lies somewhere in its class; who also draws background on a slice
    has drawn on everything there. A brush corrects a mask, where it went and
    nowhere else; of background it erases.
    """

    STROKE = "stroke"
    POINT = "point"
    BOX = "box"
    BRUSH = "brush"


Coordinate = Annotated[float, Field(ge=-1, le=100_000, allow_inf_nan=False)]
"""In voxels along a stored axis; the middle of the first is 0."""


class Drawing(BaseModel):
    """A drawing.

    Attributes:
        id: given by whoever drew it, so that it is kept once however often it is sent.
        tool: of it.
        label: class name, or "background".
        classes: on offer when it was drawn, since background is none of them.
        axis: the stored axis that its slice is counted along.
        slice: index along it.
        points: along the two other stored axes, the lower first: the line of a
            stroke or brush, one point, or two opposite corners of a box, which
            belong to it.
        radius_mm: of a stroke or brush; a line is at least a voxel wide.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[0-9A-Za-z-]{8,64}$")
    tool: Tool
    label: str = Field(min_length=1, max_length=64)
    classes: tuple[str, ...] = Field(min_length=1, max_length=254)
    axis: int = Field(ge=0, le=2)
    slice: int = Field(ge=0, le=1_000_000)
    points: tuple[tuple[Coordinate, Coordinate], ...] = Field(min_length=1, max_length=20_000)
    radius_mm: float = Field(0.0, ge=0, le=200, allow_inf_nan=False)

    @property
    def about(self) -> About:
        """The row that it is kept in."""
        return About(KIND, self.id, self.axis, self.slice)

    def value(self, labels: LabelSpace) -> int | None:
        """The voxel value of its class, 255 for background; None where it says nothing of these classes.

        What is none of the classes that were on offer is none of fewer.
        """
        if self.label == BACKGROUND_NAME:
            return 255 if set(labels.names) <= set(self.classes) else None
        return labels.value(self.label) if self.label in labels.names else None


@dataclass(frozen=True)
class Drawn:
    """A drawing as it is kept.

    Attributes:
        drawing: it.
        annotator, time, revision: of the write that brought it; UTC.
    """

    drawing: Drawing
    annotator: str
    time: datetime
    revision: int


def check_drawings(scan: ScanIdentity, drawings: Iterable[Drawing], labels: LabelSpace) -> None:
    """Refuse drawings that do not lie on the scan, or mean nothing.

    Raises:
        WssegError: another axis than the scan's slices run along, a slice that
            it does not have, a place outside, an unknown class, or points that
            are not what the tool needs.
    """
    plane = [size for axis, size in enumerate(scan.shape) if axis != scan.axis]
    ids: set[str] = set()
    for drawing in drawings:
        place = f"{scan.name}, slice {drawing.slice}, {drawing.tool}"
        if drawing.id in ids:
            raise WssegError(f"{place}: two drawings have the id {drawing.id}")
        ids.add(drawing.id)
        if drawing.axis != scan.axis or drawing.slice >= scan.slices:
            raise WssegError(f"{place}: the scan has slices 0 to {scan.slices - 1} along the stored axis {scan.axis}")
        if drawing.label not in (*labels.names, BACKGROUND_NAME):
            known = ", ".join((*labels.names, BACKGROUND_NAME))
            raise WssegError(f'{place}: label "{drawing.label}" is unknown, known are: {known}')
        if drawing.tool == Tool.BOX and drawing.label == BACKGROUND_NAME:
            raise WssegError(f"{place}: a box is around a class, draw background as a stroke")
        wanted = {Tool.POINT: 1, Tool.BOX: 2}.get(drawing.tool, len(drawing.points))
        if len(drawing.points) != wanted:
            raise WssegError(f"{place}: has {len(drawing.points)} points, {wanted} are needed")
        if any(not -1 <= at <= size for point in drawing.points for at, size in zip(point, plane, strict=True)):
            raise WssegError(f"{place}: lies outside the slice, which has {plane[0]} x {plane[1]} voxels")
