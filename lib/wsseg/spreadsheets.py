"""Tables as people's spreadsheets and scripts write them."""

from __future__ import annotations

import csv
from collections.abc import Sequence, Set
from pathlib import Path

from wsseg.errors import WssegError

DELIMITERS = ",;\t"
"""Of columns; where a comma is the decimal point spreadsheets write semicolons."""


def read_table(path: Path, needed: Set[str]) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a table in their order, and its rows with their lines.

    Raises:
        WssegError: it cannot be read, a column that is needed is missing, or one is there twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel puts a mark in front
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(DELIMITERS, key=head.count))
            columns, rows = list(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WssegError(f"{path}: cannot be read as CSV ({error})") from error
    check_columns(path, columns, needed)
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise WssegError(f"{path}: column {', '.join(twice)} is there twice")
    return columns, rows


def check_columns(path: Path, columns: Sequence[str], needed: Set[str]) -> None:
    """Refuse a table without a column that is needed."""
    missing = needed - set(columns)
    if missing:
        raise WssegError(f"{path}: column {', '.join(sorted(missing))} is missing")
