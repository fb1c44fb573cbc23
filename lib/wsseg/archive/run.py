"""A campaign driven to its end: list, claim, hand out to workers, write down what became of it."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

from distributed import Client, Future

from wsseg.archive.cluster import HandlerPlugin, handle, needed
from wsseg.archive.listing import Listing
from wsseg.archive.web.replies import RefusedError
from wsseg.archive.work import LEASE, Claim, Counts, Outcome, Work
from wsseg.errors import UnavailableError, WssegError

logger = logging.getLogger(__name__)

WINDOW = 64
"""Series handed out at a time at least, so that the database is asked seldom; more where there are many threads."""

PAUSES = (5.0, 600.0)
"""Seconds between two questions to an archive that does not answer: at first, and at most."""

POLL = 60.0
"""Seconds between two questions for new series."""

TICK = 1.0
"""Seconds after which outcomes are on disk at the latest."""

COUNTED = 2.0
"""Seconds between two counts, since one over a million series takes a tenth of one."""

BUNDLE, LARGEST = 0.5, 32
"""Seconds that a task takes at least, of series that take less together, and how many those may be: Dask needs
milliseconds for a task."""

LOOK = 10.0
"""Seconds between two looks at how many workers there are."""


class Place(Protocol):
    """Where series come from or results go."""

    def check(self) -> None:
        """Ask whether it answers.

        Raises:
            UnavailableError: it does not.
        """


class LostError(UnavailableError):
    """The scheduler is gone; what was handed out waits in the database."""


@dataclass(frozen=True)
class RunProgress:
    """How far a campaign is.

    Attributes:
        counts: series by state.
        listed: whether the archive's list was read to its end.
        seconds_left: for what is known, at the pace of this run; None before the first.
        note: what it waits for; "" if for nothing.
    """

    counts: Counts
    listed: bool
    seconds_left: float | None
    note: str


class Run:
    """One process's part in a campaign; any number may run at once.

    Args:
        work: the rows.
        listing: what finds series; None to work on what is known.
        places: asked whether they answer when series fail for want of one.
        follow: whether to go on polling for new series for ever.
        report: how far it is, about once a second.
    """

    def __init__(
        self,
        work: Work,
        listing: Listing | None,
        places: Sequence[Place],
        follow: bool,
        report: Callable[[RunProgress], None],
    ) -> None:
        self._work = work
        self._listing = listing
        self._places = places
        self._follow = follow
        self._report = report
        self._owner = f"{socket.gethostname()[:20]} {os.getpid()} {uuid4().hex[:8]}"
        self._under_way: dict[Future, list[Claim]] = {}
        self._ended: queue.Queue[Future] = queue.Queue()
        self._outcomes: list[Outcome] = []
        self._listed = listing is None
        self._refused: WssegError | None = None
        self._stop = threading.Event()
        self._workers = _Workers()
        self._bundle = 1
        self._pause = 0.0
        self._hold_until = 0.0
        self._note = ""
        self._started = time.monotonic()
        self._done_before = 0

    def go(self, client: Client, plugin: HandlerPlugin) -> Counts:
        """Work until nothing is left, whoever else has claimed it.

        Args:
            client: of the workers.
            plugin: makes their handlers.

        Raises:
            LostError: the scheduler is gone; another client may go on with this run.
            RefusedError: the archive will not be listed.
        """
        client.register_plugin(plugin)
        counts = self._work.counts()
        self._started, self._done_before = time.monotonic(), counts.done + counts.failed
        lister = threading.Thread(target=self._list, daemon=True)
        self._stop.clear()
        lister.start()
        try:
            return self._until_done(client, plugin.name)
        finally:
            self._stop.set()
            lister.join()
            self._write_down()
            self._under_way.clear()
            self._work.give_back(self._owner)

    def _until_done(self, client: Client, name: str) -> Counts:
        renewed = time.monotonic()
        counted = float("-inf")
        while True:
            if self._refused:
                raise self._refused
            if client.status != "running":
                raise LostError("the scheduler is gone")
            self._hand_out(client, name)
            self._collect()
            self._write_down()
            if time.monotonic() - renewed > LEASE / 4:
                self._work.renew(self._owner)
                renewed = time.monotonic()
            listed = self._listed  # before counting, so that no page comes between
            if time.monotonic() - counted < COUNTED and self._under_way:
                continue
            counts, counted = self._work.counts(), time.monotonic()
            self._tell(counts)
            if not self._under_way and listed and not counts.open and not self._follow:
                return counts

    def _list(self) -> None:
        """Find series, beside the work on those that are known."""
        pause, longest = PAUSES
        while self._listing is not None and not self._stop.is_set():
            try:
                self._listing.read()
                self._listed, wait, pause = True, POLL, PAUSES[0]
            except RefusedError as error:
                self._refused = error
                return
            except UnavailableError as error:
                self._note, wait, pause = str(error), pause, min(2 * pause, longest)
            if self._listed and not self._follow:
                return
            self._stop.wait(wait)

    def _hand_out(self, client: Client, name: str) -> None:
        """Fill the window, which is refilled when it is half empty."""
        window = max(WINDOW, 4 * self._workers.threads) * self._bundle
        out = sum(map(len, self._under_way.values()))
        if time.monotonic() < self._hold_until or 2 * out > window:
            return
        self._workers.look(client)
        claims = self._work.claim(window - out, self._owner)
        for start in range(0, len(claims), self._bundle):
            bundle = claims[start : start + self._bundle]
            # One group: a key that is a mere text is a group of its own, which the scheduler remembers for ever.
            key, resources = (name, uuid4().hex), self._workers.needed
            future = client.submit(handle, name, bundle, key=key, resources=resources)
            self._under_way[future] = bundle
            future.add_done_callback(self._ended.put)

    def _collect(self) -> None:
        """Take what has ended within a tick, or half a window of it."""
        end = time.monotonic() + TICK
        for _ in range(WINDOW // 2):
            try:
                future = self._ended.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return
            if claims := self._under_way.pop(future, []):
                self._take(claims, future)

    def _take(self, claims: list[Claim], future: Future) -> None:
        if future.status == "finished":
            outcomes: list[Outcome] = future.result()
            mean = sum(outcome.seconds for outcome in outcomes) / len(outcomes)
            self._bundle = max(1, min(LARGEST, int(BUNDLE / max(mean, 1e-6))))
        elif future.status == "error":  # its worker died again and again, or could not load the model
            why = f"its worker failed ({_reason(future)})"
            outcomes = [Outcome(claim.id, 0.0, error=why, passing=True) for claim in claims]
        else:  # the scheduler is gone
            self._work.give_back(self._owner, [claim.id for claim in claims])
            return
        away = [outcome.id for outcome in outcomes if outcome.passing and not self._answers()]
        if away:
            self._work.give_back(self._owner, away)
        self._outcomes += [outcome for outcome in outcomes if outcome.id not in away]

    def _answers(self) -> bool:
        """Whether all places do; if not, nothing is handed out for a while, and no try is counted."""
        if time.monotonic() < self._hold_until:
            return False
        try:
            for place in self._places:
                place.check()
        except UnavailableError as error:
            self._pause = min(2 * self._pause or PAUSES[0], PAUSES[1])
            self._hold_until = time.monotonic() + self._pause
            self._note = str(error)
            logger.warning("%s, trying again in %.0f s", error, self._pause)
            return False
        self._pause, self._note = 0.0, ""
        return True

    def _write_down(self) -> None:
        if self._outcomes:
            self._work.note(self._outcomes)
            self._outcomes = []

    def _tell(self, counts: Counts) -> None:
        behind = counts.done + counts.failed - self._done_before
        pace = (time.monotonic() - self._started) / behind if behind > 0 else None
        self._report(RunProgress(counts, self._listed, None if pace is None else pace * counts.open, self._note))


class _Workers:
    """How many threads workers have, and what a task takes of their resources."""

    def __init__(self) -> None:
        self.threads = 0
        self.needed: dict[str, float] = {}
        self._looked = float("-inf")

    def look(self, client: Client) -> None:
        """Ask the scheduler, now and then."""
        if time.monotonic() - self._looked > LOOK or not self.threads:
            self.threads, self.needed = sum(client.nthreads().values()), needed(client)
            self._looked = time.monotonic()


def _reason(future: Future) -> str:
    error = future.exception()
    return str(error) if isinstance(error, WssegError) else type(error).__name__
