"""Weak labels in CSV tables: image-level labels and sentences."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsseg.errors import WssegError
from wsseg.labels.space import AXIS_COLUMN, COLUMNS, NO, UNKNOWN, YES, LabelSpace, Presence
from wsseg.spreadsheets import check_columns, read_table

PRESENCE_FILE = "image_labels.csv"
"""The table of image-level labels in a data folder."""

TEXT_FILE = "text.csv"
"""The table of sentences in a data folder."""


AXES = "ijk"
"""Names of a scan's stored axes, as NIfTI has them."""


@dataclass(frozen=True)
class ListedPresence:
    """The image-level labels of one case as a table lists them.

    Attributes:
        states: (classes, slices).
        axis: the stored axis that slices are counted along, 0, 1 or 2.
    """

    states: Presence
    axis: int = 2

    def of_scan(self, slices: int, axis: int, case: str, path: Path) -> Presence:
        """The states, if they are as many as a scan has slices, and along the axis that those run along.

        Raises:
            WssegError: they are not.
        """
        self.check_axis(axis, case, path)
        listed = self.states.shape[1]
        if listed != slices:
            raise WssegError(f"{path}: {case} has {slices} slices, but presence is listed for {listed}")
        return self.states

    def check_axis(self, axis: int, case: str, path: Path) -> None:
        """Refuse labels that were counted along another axis than a scan's slices run along."""
        if axis != self.axis:
            raise WssegError(
                f"{path}: {case} has its slices along the stored axis {AXES[axis]}, but presence is listed along "
                f"{AXES[self.axis]}; if it is counted along {AXES[axis]}, say so in a column {AXIS_COLUMN}"
            )


def read_presence(path: Path, labels: LabelSpace) -> dict[str, ListedPresence]:
    """Read image-level labels: columns ``case``, ``slice`` and one per class.

    Cells are 1 (present), 0 (absent) or empty (unknown). Slices count from 0
    along the stored axis that a column ``slice_axis`` names: i, j or k; along
    k, the third, where it is empty or there is no such column. Slices that are
    not listed are unknown.

    Returns:
        The presence of each case, as long as its highest slice asks for.
    """
    _, rows = read_table(path, {"case", "slice", *labels.names})
    cells: dict[str, dict[int, list[int]]] = {}
    axes: dict[str, int] = {}
    for line, row in rows:
        place = f"{path}, line {line}"
        if not row["case"]:
            raise WssegError(f"{place}: case is empty")
        case = cells.setdefault(row["case"], {})
        index = _slice_index(row["slice"], place)
        if index in case:
            raise WssegError(f"{place}: slice {index} of {row['case']} is listed twice")
        if axes.setdefault(row["case"], axis := axis_named(row.get(AXIS_COLUMN), place)) != axis:
            raise WssegError(f"{place}: {row['case']} is listed along two axes, one scan has slices along one")
        case[index] = [_state(row[name], name, place) for name in labels.names]
    return {case: ListedPresence(_dense(slices, len(labels)), axes[case]) for case, slices in cells.items()}


def classes_in(path: Path) -> LabelSpace:
    """The classes that a table of image-level labels has columns for, in their order."""
    columns, _ = read_table(path, {"case", "slice"})
    return LabelSpace(tuple(name for name in columns if name not in COLUMNS))


def presence_of(case: str, path: Path, labels: LabelSpace, slices: int, axis: int) -> Presence:
    """The presence labels of one case that has so many slices along a stored axis.

    Raises:
        WssegError: the case is not listed, or the list has another length or axis.
    """
    cases = read_presence(path, labels)
    if case not in cases:
        raise WssegError(f"{path}: no rows for case {case}")
    return cases[case].of_scan(slices, axis, case, path)


def write_presence(path: Path, cases: Mapping[str, ListedPresence], labels: LabelSpace) -> None:
    """Write what :func:`read_presence` reads; unknown cells stay empty."""
    text = {YES: "1", NO: "0", UNKNOWN: ""}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *labels.names])
        for case, listed in cases.items():
            for index, states in enumerate(listed.states.T):
                writer.writerow([case, index, AXES[listed.axis], *(text[int(s)] for s in states)])


def read_texts(path: Path) -> dict[str, str]:
    """Read sentences: columns ``case`` (or ``image``, as public releases name it) and ``text``."""
    columns, rows = read_table(path, {"text"})
    name = "image" if "image" in columns and "case" not in columns else "case"
    check_columns(path, columns, {name})
    found: dict[str, str] = {}
    for line, row in rows:
        if row[name] in found:
            raise WssegError(f"{path}, line {line}: {row[name]} is listed twice")
        found[row[name]] = row["text"].strip()
    return found


def write_texts(path: Path, texts: Mapping[str, str]) -> None:
    """Write what :func:`read_texts` reads."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("case", "text"), *texts.items()])


def _slice_index(text: str | None, place: str) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,5}\s*", text or ""):
        raise WssegError(f"{place}: slice must be a whole number from 0 to 99999, not {(text or '')[:20]!r}")
    return int(text or "")


def axis_named(text: str | None, place: str) -> int:
    """The stored axis that a cell of a column ``slice_axis`` names; the third where it is empty.

    Raises:
        WssegError: it is none of i, j and k.
    """
    name = (text or "").strip() or "k"
    if name not in tuple(AXES):
        raise WssegError(
            f"{place}: {AXIS_COLUMN} must be i, j or k, the stored axis that slices count along, not {name[:20]!r}"
        )
    return AXES.index(name)


def _state(text: str | None, name: str, place: str) -> int:
    states = {"1": YES, "0": NO, "": UNKNOWN, "1.0": YES, "0.0": NO}  # so pandas writes a column with empty cells
    key = (text or "").strip()
    if key not in states:
        raise WssegError(f"{place}: {name} must be 1, 0 or empty, not {text!r}")
    return states[key]


def _dense(slices: dict[int, list[int]], classes: int) -> Presence:
    presence = np.full((classes, max(slices) + 1), UNKNOWN, np.int8)
    for index, states in slices.items():
        presence[:, index] = states
    return presence
