"""Names to voxel values, and the weak labels a scan can carry."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from wsseg.errors import WssegError

YES, NO, UNKNOWN = 1, 0, -1
"""States of one class on one slice, as stored in a presence array."""

PRESENCE_FILE = "image_labels.csv"
"""The table of image-level labels in a data folder."""

TEXT_FILE = "text.csv"
"""The table of sentences in a data folder."""

BACKGROUND = 255
"""Background in pixel labels, where 0 is "not labelled" and 1..N are the classes."""

Presence = NDArray[np.int8]
"""(classes, slices) of YES, NO or UNKNOWN; slices along the third stored axis."""


_Byte = Annotated[int, Field(ge=0, le=255)]


class Strict(BaseModel):
    """Part of a package's metadata; what is not a field is refused."""

    model_config = ConfigDict(extra="forbid")


class Code(Strict):
    """A coded meaning, as DICOM SEG asks for it, in the lengths that DICOM allows."""

    scheme: str = Field(min_length=1, max_length=16)
    value: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)


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
        WssegError: no class, an empty, repeated or over-long name,
            "background", or more than 254 classes (255 is the scribbles'
            background).
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= 254:
            raise WssegError(f"labels: {len(self.names)} given, between 1 and 254 are possible")
        if len(set(self.names)) != len(self.names) or "" in self.names:
            raise WssegError(f"labels: names must be distinct and not empty, not {list(self.names)}")
        if any(len(name) > 64 for name in self.names):
            raise WssegError("labels: a name is longer than the 64 characters that DICOM allows")
        if "background" in self.names:
            raise WssegError('labels: "background" is always 0 and must not be listed')

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


def read_presence(path: Path, labels: LabelSpace) -> dict[str, Presence]:
    """Read image-level labels: columns ``case``, ``slice`` and one per class.

    Cells are 1 (present), 0 (absent) or empty (unknown). Slices count from 0
    along the scan's third stored axis; those not listed are unknown.

    Returns:
        One presence array per case, as long as its highest slice asks for.
    """
    columns, rows = _table(path)
    _check_columns(path, columns, {"case", "slice", *labels.names})
    cells: dict[str, dict[int, list[int]]] = {}
    for line, row in rows:
        place = f"{path}, line {line}"
        if not row["case"]:
            raise WssegError(f"{place}: case is empty")
        case = cells.setdefault(row["case"], {})
        index = _slice_index(row["slice"], place)
        if index in case:
            raise WssegError(f"{place}: slice {index} of {row['case']} is listed twice")
        case[index] = [_state(row[name], name, place) for name in labels.names]
    return {case: _dense(slices, len(labels)) for case, slices in cells.items()}


def presence_of(case: str, path: Path, labels: LabelSpace, slices: int) -> Presence:
    """The presence labels of one case that has so many slices.

    Raises:
        WssegError: the case is not listed, or the list has another length.
    """
    cases = read_presence(path, labels)
    if case not in cases:
        raise WssegError(f"{path}: no rows for case {case}")
    return check_length(cases[case], slices, case, path)


def check_length(presence: Presence, slices: int, case: str, path: Path) -> Presence:
    """The presence array itself, if it is as long as its scan."""
    listed = presence.shape[1]
    if listed != slices:
        raise WssegError(f"{path}: {case} has {slices} slices, but presence is listed for {listed}")
    return presence


def write_presence(path: Path, cases: dict[str, Presence], labels: LabelSpace) -> None:
    """Write what :func:`read_presence` reads; unknown cells stay empty."""
    text = {YES: "1", NO: "0", UNKNOWN: ""}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "slice", *labels.names])
        for case, presence in cases.items():
            for index, states in enumerate(presence.T):
                writer.writerow([case, index, *(text[int(s)] for s in states)])


def read_texts(path: Path) -> dict[str, str]:
    """Read sentences: columns ``case`` (or ``image``, as public releases name it) and ``text``."""
    columns, rows = _table(path)
    name = "image" if "image" in columns and "case" not in columns else "case"
    _check_columns(path, columns, {name, "text"})
    found: dict[str, str] = {}
    for line, row in rows:
        if row[name] in found:
            raise WssegError(f"{path}, line {line}: {row[name]} is listed twice")
        found[row[name]] = (row["text"] or "").strip()
    return found


def presence_of_mask(mask: NDArray[np.integer], classes: int) -> Presence:
    """Presence per class and slice of a complete mask (x, y, slice)."""
    rows = [(mask == k + 1).any(axis=(0, 1)) for k in range(classes)]
    return np.stack(rows).astype(np.int8)


def _table(path: Path) -> tuple[set[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a table, and its rows with their lines."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel puts a mark in front
            reader = csv.DictReader(file)
            return set(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WssegError(f"{path}: cannot be read as CSV ({error})") from error


def _check_columns(path: Path, columns: set[str], needed: set[str]) -> None:
    missing = needed - columns
    if missing:
        raise WssegError(f"{path}: column {', '.join(sorted(missing))} is missing")


def _slice_index(text: str | None, place: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", text or ""):
        raise WssegError(f"{place}: slice must be a whole number from 0 to 99999, not {(text or '')[:20]!r}")
    return int(text or "")


def _state(text: str | None, name: str, place: str) -> int:
    states = {"1": YES, "0": NO, "": UNKNOWN}
    key = (text or "").strip()
    if key not in states:
        raise WssegError(f"{place}: {name} must be 1, 0 or empty, not {text!r}")
    return states[key]


def _dense(slices: dict[int, list[int]], classes: int) -> Presence:
    presence = np.full((classes, max(slices) + 1), UNKNOWN, np.int8)
    for index, states in slices.items():
        presence[:, index] = states
    return presence
