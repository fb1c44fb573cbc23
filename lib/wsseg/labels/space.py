"""What a label is about; names to voxel values, and what they are called in a PACS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsseg.errors import WssegError

YES, NO, UNKNOWN = 1, 0, -1
"""States of one class on one slice, as stored in a presence array."""

BACKGROUND = 255
"""Background in pixel labels, where 0 is "not labelled" and 1..N are the classes."""

Presence = NDArray[np.int8]
"""(classes, slices) of YES, NO or UNKNOWN; slices as stored, along the axis that they run along."""


AXIS_COLUMN = "slice_axis"
"""Of a table, which names the stored axis that its slices are counted along."""

COLUMNS = ("case", "slice", AXIS_COLUMN)
"""Of a table of image-level labels, where all others are classes: so no class can have such a name."""

LONGEST_NAME = 255

WHOLE = -1
"""Axis and slice of a label that is about the whole scan."""


AboutKind = Literal["presence", "scribbles", "corrections", "drawing", "text"]
"""What kinds of labels the database keeps, by their names in it."""

StrokeKind = Literal["scribbles", "corrections"]
"""Those of them that are voxels of a scan."""

_Byte = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True)
class About:
    """What a label of a scan is about; a newer one about the same replaces it.

    Attributes:
        kind: of label.
        label: class name, a drawing's id, or what else the kind tells its labels apart by.
        axis, slice: the stored axis and index; ``WHOLE`` for the whole scan.
    """

    kind: AboutKind
    label: str = ""
    axis: int = WHOLE
    slice: int = WHOLE


class Strict(BaseModel):
    """Part of a package's metadata; what is not a field is refused."""

    model_config = ConfigDict(extra="forbid")


class Code(Strict):
    """A coded meaning, as DICOM SEG asks for it, in the lengths that DICOM allows."""

    scheme: str = Field(min_length=1, max_length=16)
    value: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


TISSUE = Code(scheme="SCT", value="85756007", meaning="Tissue")
"""What DICOM SEG says of a class until its package's metadata names it better."""


class Label(Strict):
    """How one class is shown and named in a PACS.

    Attributes:
        color: red, green, blue.
        category, type: SNOMED CT codes of the segment.
        cavity: whether it fills and empties, so that what it ejects is measured.
    """

    color: tuple[_Byte, _Byte, _Byte]
    category: Code
    type: Code
    cavity: bool = False


@dataclass(frozen=True)
class LabelSpace:
    """Class names in order; the class at position k has voxel value k + 1.

    Values are contiguous from 1, background is 0 and never listed: the one
    convention that 3D Slicer, OHIF and MITK all read rightly.

    Raises:
        WssegError: no class, an empty, repeated, reserved or over-long name, one with
            line breaks or the like, or more than 254 classes (255 is the scribbles' background).
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= 254:
            raise WssegError(f"labels: {len(self.names)} given, between 1 and 254 are possible")
        folded = {name.casefold() for name in self.names}
        if len(folded) != len(self.names) or "" in folded:
            raise WssegError(f"labels: names must be distinct, upper case or lower, and not empty: {list(self.names)}")
        if any(len(name) > 64 for name in self.names):
            raise WssegError("labels: a name is longer than the 64 characters that DICOM allows")
        if "background" in folded:
            raise WssegError('labels: "background" is always 0 and must not be listed')
        for name in self.names:
            if name.casefold() in COLUMNS:
                raise WssegError(f'labels: "{name}" is a column of every table of labels, call the class otherwise')
            if not name.isprintable():
                raise WssegError(f"labels: {name!r} holds a character that cannot be printed, such as a line break")

    def __len__(self) -> int:
        return len(self.names)

    def value(self, name: str) -> int:
        """Voxel value of a class."""
        if name not in self.names:
            raise WssegError(f'label "{name}" is unknown, known are: {", ".join(self.names)}')
        return self.names.index(name) + 1

    def values(self) -> dict[str, int]:
        """Every class name with its voxel value."""
        return {name: k + 1 for k, name in enumerate(self.names)}


def presence_of_mask(mask: NDArray[np.integer], classes: int, axis: int = 2) -> Presence:
    """Presence per class and slice, along a stored axis, of a complete mask."""
    slices = np.moveaxis(mask, axis, 2)
    rows = [(slices == k + 1).any(axis=(0, 1)) for k in range(classes)]
    return np.stack(rows).astype(np.int8)
