"""Weak labels in CSV tables: image-level labels and sentences."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np

from wsseg.errors import WssegError
from wsseg.labels.space import NO, UNKNOWN, YES, LabelSpace, Presence

PRESENCE_FILE = "image_labels.csv"
"""The table of image-level labels in a data folder."""

TEXT_FILE = "text.csv"
"""The table of sentences in a data folder."""


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
