"""Which model segments a series that was sent: the first rule that fits its header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from wsseg.errors import WssegError

ATTRIBUTES = {
    "modality": "Modality",
    "body part": "BodyPartExamined",
    "description": "SeriesDescription",
}
"""Columns of the table, and the attributes that they are compared with."""

MODEL = "model"


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        patterns: regular expressions by keyword, found anywhere in the attribute, in any case.
        model: that segments.
    """

    patterns: dict[str, re.Pattern[str]]
    model: str

    def fits(self, header: Dataset) -> bool:
        """Whether every pattern is found."""
        return all(pattern.search(str(header.get(keyword, ""))) for keyword, pattern in self.patterns.items())


class Rules:
    """The table, from top to bottom.

    Args:
        rules: in order.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    @property
    def models(self) -> list[str]:
        """That are named, each once."""
        return list(dict.fromkeys(rule.model for rule in self._rules))

    def model_for(self, header: Dataset) -> str | None:
        """The model of the first rule that fits, None where none does."""
        return next((rule.model for rule in self._rules if rule.fits(header)), None)

    @classmethod
    def read(cls, file: Path) -> Rules:
        """A CSV with a column ``model`` and any of ``modality``, ``body part`` and ``description``.

        Raises:
            WssegError: unreadable, another column, no model, or no regular expression.
        """
        try:
            with file.open(newline="", encoding="utf-8-sig") as opened:  # Excel puts a mark in front
                reader = csv.DictReader(opened)
                columns, rows = list(reader.fieldnames or ()), [(reader.line_num, row) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise WssegError(f"{file}: cannot be read as CSV ({error})") from error
        if MODEL not in columns or set(columns) - {MODEL, *ATTRIBUTES}:
            raise WssegError(f"{file}: must have the column model, and of {', '.join(ATTRIBUTES)} those that decide")
        if not rows:
            raise WssegError(f"{file}: holds no rule")
        return cls([_rule(f"{file}, line {line}", row) for line, row in rows])


def _rule(place: str, row: dict[str, str]) -> Rule:
    if not row[MODEL]:
        raise WssegError(f"{place}: model is empty")
    try:
        patterns = {
            keyword: re.compile(row[column], re.IGNORECASE) for column, keyword in ATTRIBUTES.items() if row.get(column)
        }
    except re.error as error:
        raise WssegError(f"{place}: is no regular expression ({error})") from error
    return Rule(patterns, row[MODEL].strip())
