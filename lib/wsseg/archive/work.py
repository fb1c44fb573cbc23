"""What is to be done over an archive and what is done, on disk: claimed by one, done once, never forgotten."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

import sqlalchemy as sa

from wsseg.archive import schema
from wsseg.archive.schema import campaigns, series
from wsseg.archive.web.series import Series
from wsseg.errors import NotFoundError, WssegError
from wsseg.labels.database.connection import Database

LEASE = 60.0
"""Seconds for which a claim holds unless it is renewed: how long the work of a killed process waits."""

TRIES = 5
"""Of a series, while the archive itself answers."""

DOUBTFUL = 0.2
"""The part of a campaign's cases, those that the model was least sure of, that another version is to do again."""


class State(StrEnum):
    """Of a series in a campaign."""

    WAITING = "waiting"
    CLAIMED = "claimed"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Campaign:
    """One version of one model over one archive.

    Attributes:
        archive: address of what is segmented.
        model, version: of the package.
        destination: address of where results go.
    """

    archive: str
    model: str
    version: str
    destination: str


@dataclass(frozen=True)
class Claim:
    """A series that one process has to segment now.

    Attributes:
        id: of its row.
        series: it.
    """

    id: int
    series: Series


@dataclass(frozen=True)
class Outcome:
    """What became of a series.

    Attributes:
        id: of its row.
        seconds: that it took.
        sizes: millilitres by class.
        quality: what the model says of its mask, in [0, 1]; None where it failed.
        error: why it failed; "" once the destination has confirmed the result.
        passing: whether trying again may help.
    """

    id: int
    seconds: float
    sizes: dict[str, float] = field(default_factory=dict)
    quality: float | None = None
    error: str = ""
    passing: bool = False


@dataclass(frozen=True)
class Counts:
    """Series of a campaign by state."""

    waiting: int = 0
    claimed: int = 0
    done: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All that are known."""
        return self.waiting + self.claimed + self.done + self.failed

    @property
    def open(self) -> int:
        """What is not done yet."""
        return self.waiting + self.claimed


class Work:
    """The rows of one campaign. Safe to use from several threads, processes and machines at once.

    Args:
        database: that labels are kept in; the tables are made if need be.
        campaign: is known from then on.

    Raises:
        WssegError: the tables are of another version.
    """

    def __init__(self, database: Database, campaign: Campaign) -> None:
        self._database = database
        make_tables(database)
        named = {
            "archive": campaign.archive,
            "model": campaign.model,
            "version": campaign.version,
            "destination": campaign.destination,
        }
        with database.writing() as connection:
            same = sa.and_(*(campaigns.c[name] == value for name, value in named.items()))
            found = connection.scalar(sa.select(campaigns.c.id).where(same))
            if found is None:
                added = connection.execute(sa.insert(campaigns).values(named))
                found = added.inserted_primary_key[0] if added.inserted_primary_key else 0
        self.id = int(found)
        self.campaign = campaign

    @property
    def database(self) -> Database:
        """Where the rows are."""
        return self._database

    def add(self, connection: sa.Connection, page: Iterable[Series]) -> int:
        """Put series that are not known yet among what waits, within a writing transaction; how many they were."""
        found = {each.uid: each for each in page}
        known = sa.select(series.c.uid).where(series.c.campaign == self.id, series.c.uid.in_(found))
        for uid in connection.scalars(known):
            del found[uid]
        if found:
            rows = [
                {
                    "campaign": self.id,
                    "uid": each.uid,
                    "study": each.study,
                    "images": each.images,
                    "state": State.WAITING,
                    "tries": 0,
                }
                for each in found.values()
            ]
            connection.execute(sa.insert(series), rows)
        return len(found)

    def claim(self, count: int, owner: str) -> list[Claim]:
        """Take series that wait, or whose claim has ended, the oldest first."""
        now = time.time()
        with self._database.writing() as connection:
            ended = sa.update(series).where(
                series.c.campaign == self.id, series.c.state == State.CLAIMED, series.c.until < now
            )
            connection.execute(ended.values(state=State.WAITING, owner=None, until=None))
            waiting = sa.select(series.c.id, series.c.uid, series.c.study, series.c.images)
            waiting = waiting.where(series.c.campaign == self.id, series.c.state == State.WAITING)
            rows = connection.execute(waiting.order_by(series.c.id).limit(count)).all()
            if rows:
                taken = sa.update(series).where(series.c.id.in_([row.id for row in rows]))
                connection.execute(taken.values(state=State.CLAIMED, owner=owner, until=now + LEASE))
        return [Claim(row.id, Series(row.uid, row.study, row.images, {})) for row in rows]

    def renew(self, owner: str) -> None:
        """Hold on to what one has claimed."""
        mine = sa.update(series).where(series.c.campaign == self.id, series.c.state == State.CLAIMED)
        with self._database.writing() as connection:
            connection.execute(mine.where(series.c.owner == owner).values(until=time.time() + LEASE))

    def give_back(self, owner: str, ids: Sequence[int] | None = None) -> None:
        """Let others do what one has claimed, all of it unless ids are named."""
        mine = sa.update(series).where(series.c.campaign == self.id, series.c.state == State.CLAIMED)
        mine = mine.where(series.c.owner == owner)
        if ids is not None:
            mine = mine.where(series.c.id.in_(ids))
        with self._database.writing() as connection:
            connection.execute(mine.values(state=State.WAITING, owner=None, until=None))

    def note(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what became of series; what is done stays done, whoever fails at it later."""
        now = time.time()
        done = [
            {
                "row": outcome.id,
                "seconds": outcome.seconds,
                "sizes": json.dumps(outcome.sizes),
                "quality": outcome.quality,
            }
            for outcome in outcomes
            if not outcome.error
        ]
        free = {"owner": None, "until": None, "finished": now}
        taken = sa.update(series).where(series.c.id == sa.bindparam("row"), series.c.state != State.DONE)
        with self._database.writing() as connection:
            if done:
                connection.execute(taken.values(**free, state=State.DONE, error=None), done)
            for outcome in outcomes:
                if outcome.error:
                    failed = {**free, **_failure(outcome), "seconds": outcome.seconds}
                    connection.execute(taken.values(failed), {"row": outcome.id})

    def retry(self) -> int:
        """Let what failed be tried again; how many."""
        failed = sa.update(series).where(series.c.campaign == self.id, series.c.state == State.FAILED)
        with self._database.writing() as connection:
            return connection.execute(failed.values(state=State.WAITING, tries=0, error=None)).rowcount

    def take_doubtful(self) -> int:
        """Put among what waits what another version of the model was least sure of; how many.

        Raises:
            NotFoundError: none has segmented this archive to this destination.
        """
        with self._database.writing() as connection:
            cases = sa.and_(series.c.campaign == self._earlier(connection), series.c.quality.is_not(None))
            count = connection.scalar(sa.select(sa.func.count()).where(cases)) or 0
            known = sa.select(series.c.uid).where(series.c.campaign == self.id)
            doubtful = sa.select(series.c.id).where(cases).order_by(series.c.quality).limit(ceil(DOUBTFUL * count))
            row = (sa.literal(self.id), series.c.uid, series.c.study, series.c.images)
            taken = sa.select(*row, sa.literal(State.WAITING), sa.literal(0)).where(series.c.id.in_(doubtful))
            into = ["campaign", "uid", "study", "images", "state", "tries"]
            again = sa.insert(series).from_select(into, taken.where(series.c.uid.not_in(known)))
            # Without the option it is -1 on PostgreSQL.
            return connection.execute(again, execution_options={"preserve_rowcount": True}).rowcount

    def _earlier(self, connection: sa.Connection) -> int:
        """The campaign of another version before this one."""
        asked = self.campaign
        others = sa.select(sa.func.max(campaigns.c.id)).where(
            campaigns.c.archive == asked.archive,
            campaigns.c.model == asked.model,
            campaigns.c.destination == asked.destination,
            campaigns.c.id < self.id,
        )
        found = connection.scalar(others)
        if found is None:
            raise NotFoundError(
                f"{asked.model} {asked.version}: no version before it has segmented this archive, nothing is doubtful"
            )
        return int(found)

    def counts(self) -> Counts:
        """How many series are in each state."""
        rows = sa.select(series.c.state, sa.func.count()).where(series.c.campaign == self.id).group_by(series.c.state)
        with self._database.reading() as connection:
            return Counts(**{row[0]: row[1] for row in connection.execute(rows)})


def _failure(outcome: Outcome) -> dict[str, object]:
    """The state that follows a failure."""
    tries = series.c.tries + 1
    again = sa.case((tries < TRIES, State.WAITING), else_=State.FAILED) if outcome.passing else State.FAILED
    return {"state": again, "tries": tries, "error": _storable(outcome.error)}


def _storable(text: str) -> str:
    """A text that may quote what stands in a file, without what a database refuses: NUL, halves of characters."""
    return text.encode(errors="replace").decode().replace("\0", "?")


def make_tables(database: Database) -> None:
    """Make what is missing, in older tables too; older versions of wsseg go on using the labels beside them.

    Raises:
        WssegError: there are tables of another version.
    """
    with database.writing() as connection:
        schema.schema.create_all(connection)
        schema.bring_over(connection)
        found = connection.scalar(sa.select(schema.store.c.format))
        if found is None:
            connection.execute(sa.insert(schema.store).values(format=schema.FORMAT))
        elif found != schema.FORMAT:
            raise WssegError(f"archive work is of format {found}, this version of wsseg knows {schema.FORMAT}")
