"""Presence as clients give it with a request: a row that people type, or lists of states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsseg.errors import WssegError
from wsseg.labels.space import NO, UNKNOWN, YES, LabelSpace, Presence

_STATES = {1: YES, 0: NO, None: UNKNOWN}


@dataclass(frozen=True)
class PresenceRow:
    """The text that people type into a viewer's option row.

    ::

        row    = entry { ";" entry }
        entry  = [ "no " ] class ":" range { "," range }
        range  = number [ "-" number ] | "all"

    "tumor: 3-9, 12; no tumor: 0-1" says that slices 3 to 9 and 12 show it, that
    0 and 1 do not, and nothing of the others. Slices count from 0 as stored,
    along the axis that the scan's slices run along; both ends of a range belong to it.
    """

    text: str

    def of(self, labels: LabelSpace, slices: int) -> Presence:
        """The states for a model's classes and a scan's slices.

        Raises:
            WssegError: the row cannot be read, or names a class or slice that is not there.
        """
        presence = np.full((len(labels), slices), UNKNOWN, np.int8)
        for entry in self.text.split(";"):
            name, colon, ranges = (part.strip() for part in entry.rpartition(":"))
            if not colon:
                example = f"{labels.names[0]}: 3-9, 12; no {labels.names[0]}: 0-1"
                raise WssegError(f'presence: must be like "{example}", not "{self.text}"')
            absent = name not in labels.names and name.startswith("no ")
            row = presence[labels.value(name.removeprefix("no ").strip() if absent else name) - 1]
            for index in _indices(ranges, name, slices):
                if row[index] != UNKNOWN:
                    raise WssegError(f"presence: slice {index} is given twice for {name}")
                row[index] = NO if absent else YES
        return presence


@dataclass(frozen=True)
class PresenceLists:
    """One list of YES, NO or UNKNOWN per class name; classes left out are unknown."""

    states: Mapping[str, tuple[int, ...]]

    def of(self, labels: LabelSpace, slices: int) -> Presence:
        """The states for a model's classes and a scan's slices.

        Raises:
            WssegError: a class is unknown, or a list is not as long as the scan.
        """
        presence = np.full((len(labels), slices), UNKNOWN, np.int8)
        for name, states in self.states.items():
            row = labels.value(name) - 1
            if len(states) != slices:
                raise WssegError(f"presence: {name} is given for {len(states)} slices, the scan has {slices}")
            presence[row] = states
        return presence


@dataclass(frozen=True)
class PresenceList:
    """One list for the only class of a model."""

    states: tuple[int, ...]

    def of(self, labels: LabelSpace, slices: int) -> Presence:
        """As :meth:`PresenceLists.of`; a model of several classes cannot be meant."""
        if len(labels) > 1:
            raise WssegError(f"presence: must be a list of 1, 0 or null for each of: {', '.join(labels.names)}")
        return PresenceLists({labels.names[0]: self.states}).of(labels, slices)


GivenPresence = PresenceRow | PresenceLists | PresenceList


def read_presence(given: Any) -> GivenPresence:
    """What a client sent.

    Args:
        given: a text, see :class:`PresenceRow`; or from JSON one list of 1 (present), 0 (absent), null (unknown)
            per slice as stored, along the axis that the scan's slices run along, or such a list per class name.

    Raises:
        WssegError: it is none of these.
    """
    if isinstance(given, str):
        return PresenceRow(given)
    if isinstance(given, list):
        return PresenceList(_states("every entry", given))
    if isinstance(given, dict):
        return PresenceLists({str(name): _states(str(name), states) for name, states in given.items()})
    raise WssegError(f"presence: must be a text, a list of 1, 0 or null, or one for each class, not {str(given)[:40]}")


def _states(name: str, given: Any) -> tuple[int, ...]:
    if not isinstance(given, list):
        raise WssegError(f"presence: {name} must be a list of 1, 0 or null, not {str(given)[:40]}")
    for state in given:
        if isinstance(state, (str, list, dict)) or state not in _STATES:
            raise WssegError(f"presence: {name} must be 1, 0 or null on every slice, not {str(state)[:40]}")
    return tuple(_STATES[state] for state in given)


def _indices(ranges: str, name: str, slices: int) -> list[int]:
    found: list[int] = []
    for part in (part.strip() for part in ranges.split(",")):
        ends = re.fullmatch(r"([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?", part)
        if part != "all" and not ends:
            raise WssegError(f'presence: {name}: "{part}" is no slice like 12, no range like 3-9 and not all')
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, slices - 1)
        if first > last:
            raise WssegError(f"presence: {name}: the range {part} ends before it begins")
        if last >= slices:
            raise WssegError(f"presence: {name}: slice {last} is given, the scan has slices 0 to {slices - 1}")
        found += range(first, last + 1)
    return found
