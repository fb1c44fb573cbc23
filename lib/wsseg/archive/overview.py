"""What a campaign has come to: how far, how fast, what failed and why, how much was found, the worst first."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from wsseg.archive.schema import campaigns, series
from wsseg.archive.work import Campaign, Counts, State, make_tables
from wsseg.errors import NotFoundError
from wsseg.labels.database.connection import Database

LATELY = 3600.0
"""Seconds over which the pace is taken."""

BARS = 24
"""Of a histogram."""

SAMPLE = 20_000
"""Cases that a histogram is made of, the newest, so that a million take no longer."""


@dataclass(frozen=True)
class Standing:
    """How far a campaign is.

    Attributes:
        id: of its row.
        campaign: it.
        counts: series by state.
        lately: series done or failed within the last hour.
    """

    id: int
    campaign: Campaign
    counts: Counts
    lately: int


@dataclass(frozen=True)
class Failure:
    """A reason, without the series' own names in it, how many series failed for it, and one of them."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True)
class Histogram:
    """How many cases have how much of a class: ``counts`` between each two of the ``edges``, in millilitres."""

    label: str
    edges: list[float]
    counts: list[int]
    median: float


@dataclass(frozen=True)
class Case:
    """A series that was segmented."""

    uid: str
    quality: float
    sizes: dict[str, float]


class Overview:
    """Reads what campaigns write.

    Args:
        database: that labels are kept in.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        make_tables(database)

    def standings(self) -> list[Standing]:
        """Every campaign, the newest first."""
        done = sa.select(series.c.campaign, series.c.state, sa.func.count().label("number"))
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(campaigns).order_by(campaigns.c.id.desc())).all()
            counts: dict[int, dict[str, int]] = {}
            for row in connection.execute(done.group_by(series.c.campaign, series.c.state)):
                counts.setdefault(row.campaign, {})[row.state] = row.number
            lately = sa.select(series.c.campaign, sa.func.count()).where(series.c.finished > time.time() - LATELY)
            paces = {row[0]: row[1] for row in connection.execute(lately.group_by(series.c.campaign))}
        return [
            Standing(
                row.id,
                Campaign(row.archive, row.model, row.version, row.destination),
                Counts(**counts.get(row.id, {})),
                paces.get(row.id, 0),
            )
            for row in rows
        ]

    def failures(self, campaign: int) -> list[Failure]:
        """Why series failed, the most frequent reason first."""
        chosen = sa.select(sa.func.replace(series.c.error, series.c.uid, "*").label("reason"))
        chosen = chosen.add_columns(sa.func.count().label("number"), sa.func.min(series.c.uid).label("example"))
        chosen = chosen.where(series.c.campaign == campaign, series.c.state == State.FAILED)
        with self._database.reading() as connection:
            rows = connection.execute(chosen.group_by("reason").order_by(sa.desc("number")).limit(50)).all()
        return [Failure(row.reason, row.number, row.example) for row in rows]

    def worst(self, campaign: int, count: int) -> list[Case]:
        """The cases that the model itself is least sure of."""
        chosen = sa.select(series.c.uid, series.c.quality, series.c.sizes)
        chosen = chosen.where(series.c.campaign == campaign, series.c.quality.is_not(None))
        with self._database.reading() as connection:
            rows = connection.execute(chosen.order_by(series.c.quality).limit(count)).all()
        return [Case(row.uid, row.quality, json.loads(row.sizes)) for row in rows]

    def least_sure(self, archive: str, model: str, count: int) -> list[Case]:
        """:meth:`worst` of the newest campaign of a model over an archive, wherever its results went.

        Raises:
            NotFoundError: there is none.
        """
        chosen = sa.select(sa.func.max(campaigns.c.id)).where(campaigns.c.archive == archive)
        with self._database.reading() as connection:
            newest = connection.scalar(chosen.where(campaigns.c.model == model))
        if newest is None:
            raise NotFoundError(f"{model} has not segmented this archive yet, `wsseg archive` does that")
        return self.worst(newest, count)

    def volumes(self, campaign: int) -> list[Histogram]:
        """How much of each class there is over the cases."""
        chosen = sa.select(series.c.sizes).where(series.c.campaign == campaign, series.c.state == State.DONE)
        with self._database.reading() as connection:
            texts = connection.scalars(chosen.order_by(series.c.finished.desc().nulls_last()).limit(SAMPLE)).all()
        found: dict[str, list[float]] = {}
        for text in texts:
            for label, size in json.loads(text).items():
                found.setdefault(label, []).append(size)
        return [_histogram(label, sizes) for label, sizes in found.items()]


def _histogram(label: str, sizes: Sequence[float]) -> Histogram:
    """Bars up to the 99th percentile; what lies beyond is in the last one."""
    top = float(np.percentile(sizes, 99)) or 1.0
    counts, edges = np.histogram(np.minimum(sizes, top), bins=BARS, range=(0, top))
    return Histogram(label, [round(float(edge), 3) for edge in edges], counts.tolist(), float(np.median(sizes)))
