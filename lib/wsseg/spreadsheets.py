"""Tables as people's spreadsheets and scripts write them."""

from __future__ import annotations

import csv
from collections.abc import Sequence, Set
from pathlib import Path

from wsseg.errors import WssegError

DELIMITERS = ",;\t"
"""Of columns; where a comma is the decimal point spreadsheets write semicolons."""


def read_table(path: Path, needed: Set[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a table in their order, and its rows with their lines; cells that a row lacks are empty.

    UTF-8, columns parted by commas, semicolons or tabs, whichever makes the columns that are needed.

    Raises:
        WssegError: it cannot be read, a column that is needed is missing or one is there twice, or a row
            has more cells than there are columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel puts a mark in front
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, restval="", strict=True, delimiter=_delimiter(head, needed))
            columns, rows = list(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WssegError(f"{path}: cannot be read as CSV ({error})") from error
    check_columns(path, columns, needed)
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise WssegError(f"{path}: column {', '.join(twice)} is there twice")
    for line, row in rows:
        if any(row.pop(None, ())):  # as where a sentence holds a comma and is not in quotes
            raise WssegError(f"{path}, line {line}: has more cells than there are columns; put quotes around text")
    return columns, rows


def _delimiter(head: str, needed: Set[str]) -> str:
    """The one that parts the first line into the most of the columns that are needed, then into the most."""

    def fit(delimiter: str) -> tuple[int, int]:
        columns = next(csv.reader([head], delimiter=delimiter), [])
        return len(needed & set(columns)), len(columns)

    return max(DELIMITERS, key=fit)


def check_columns(path: Path, columns: Sequence[str], needed: Set[str]) -> None:
    """Refuse a table without a column that is needed."""
    missing = needed - set(columns)
    if missing:
        raise WssegError(f"{path}: column {', '.join(sorted(missing))} is missing")
