"""An archive's list of series into the table of work: in pages, on from where it was, then only what is new."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa

from wsseg.archive.schema import listings
from wsseg.archive.web.client import Pacs
from wsseg.archive.web.series import Series
from wsseg.archive.work import Work

OVERLAP = timedelta(days=2)
"""Before the newest day seen, from which on new series are asked for: studies take a while to arrive."""

ANEW = 86_400.0
"""Seconds after which the whole list is read again, for old studies that arrived late."""


class Listing:
    """How far the answers to one question were taken over.

    After a whole list only days from the newest one on are asked for, the
    high-water mark, until the list is :data:`ANEW` seconds old.

    Args:
        work: takes the series.
        pacs: the archive.
        query: attributes that a series must have.
    """

    def __init__(self, work: Work, pacs: Pacs, query: dict[str, str]) -> None:
        self._work = work
        self._pacs = pacs
        self._query = query
        self._key = {"campaign": work.id, "query": json.dumps(query, sort_keys=True)}
        self._row = sa.and_(*(listings.c[name] == value for name, value in self._key.items()))

    def read(self) -> int:
        """Take over what is new; the number of series that were not known.

        Raises:
            UnavailableError: the archive does not answer; what was read stays read.
        """
        position, newest, whole = self._mark()
        started = time.time()
        if position == 0 and newest and started - whole < ANEW:
            return self._take({**self._query, "StudyDate": f"{_days_before(newest)}-"}, 0, newest, whole, of_all=False)
        return self._take(self._query, position, newest, started, of_all=True)

    def _take(self, filters: dict[str, str], position: int, newest: str, whole: float, of_all: bool) -> int:
        """Page by page, each in one transaction with the mark, so that a kill loses and doubles nothing."""
        new = 0
        for page in self._pacs.pages(filters, position):
            newest = max(newest, _newest(page))
            position += len(page)
            with self._work.database.writing() as connection:
                new += self._work.add(connection, page)
                if of_all:
                    self._keep(connection, position=position, newest=newest)
        with self._work.database.writing() as connection:
            self._keep(connection, position=0, newest=newest, whole=whole)
        return new

    def _mark(self) -> tuple[int, str, float]:
        with self._work.database.reading() as connection:
            found = connection.execute(sa.select(listings).where(self._row)).first()
        return (found.position, found.newest, found.whole) if found else (0, "", 0.0)

    def _keep(self, connection: sa.Connection, **mark: object) -> None:
        if connection.execute(sa.update(listings).where(self._row).values(**mark)).rowcount == 0:
            connection.execute(sa.insert(listings).values(**{**self._key, "whole": 0.0, **mark}))


def _newest(page: Iterable[Series]) -> str:
    """The latest StudyDate of some series, none from the future, which would hide what comes before."""
    today = datetime.now().strftime("%Y%m%d")
    days = (each.facts.get("StudyDate", "") for each in page)
    return max((day for day in days if len(day) == 8 and day.isdecimal() and day <= today), default="")


def _days_before(day: str) -> str:
    return (datetime.strptime(day, "%Y%m%d") - OVERLAP).strftime("%Y%m%d")
