"""Which models may segment a series that was sent, by what its header says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from wsseg.errors import WssegError
from wsseg.spreadsheets import read_table

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

    def met_by(self, header: Dataset) -> bool | None:
        """Whether every pattern is found; None where those are found whose attributes the header has, but some lack."""
        said = {keyword: str(header.get(keyword) or "").strip() for keyword in self.patterns}
        if not all(pattern.search(said[keyword]) for keyword, pattern in self.patterns.items() if said[keyword]):
            return False
        return True if all(said.values()) else None


class Rules:
    """The table.

    Args:
        rules: in order.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules

    @property
    def models(self) -> list[str]:
        """That are named, each once."""
        return list(dict.fromkeys(rule.model for rule in self._rules))

    def candidates(self, header: Dataset) -> dict[str, bool]:
        """Models of rules that the header speaks not against, in their order, and whether it has all that one asks."""
        found: dict[str, bool] = {}
        for rule in self._rules:
            met = rule.met_by(header)
            if met is not False:
                found[rule.model] = found.get(rule.model, False) or met is True
        return found

    @classmethod
    def read(cls, file: Path) -> Rules:
        """A CSV with a column ``model`` and any of ``modality``, ``body part`` and ``description``.

        Raises:
            WssegError: unreadable, another column, no model, or no regular expression.
        """
        columns, rows = read_table(file, {MODEL})
        if set(columns) - {MODEL, *ATTRIBUTES}:
            raise WssegError(f"{file}: must have the column model, and of {', '.join(ATTRIBUTES)} those that decide")
        if not rows:
            raise WssegError(f"{file}: holds no rule")
        return cls([_rule(f"{file}, line {line}", row) for line, row in rows])


def _rule(place: str, row: dict[str, str]) -> Rule:
    if not row[MODEL].strip():
        raise WssegError(f"{place}: model is empty")
    try:
        patterns = {
            keyword: re.compile(row[column], re.IGNORECASE) for column, keyword in ATTRIBUTES.items() if row.get(column)
        }
    except (re.error, OverflowError, RecursionError) as error:
        raise WssegError(f"{place}: is no regular expression ({error})") from error
    return Rule(patterns, row[MODEL].strip())
