"""A campaign on Dask workers of this process, with a handler that answers by formula."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from stub import Stub, archive_stub, entry, serving

from wsseg.archive import run as running
from wsseg.archive.cluster import Handler, HandlerPlugin, Place, connected
from wsseg.archive.listing import Listing
from wsseg.archive.run import Run, RunProgress
from wsseg.archive.web import client as client_module
from wsseg.archive.web.client import Pacs
from wsseg.archive.work import TRIES, Campaign, Claim, Counts, Outcome, Work
from wsseg.errors import UnavailableError, WssegError
from wsseg.labels.database.connection import Database

__all__ = ["archive_stub"]

DONE: list[str] = []
"""Series that were handled, in this module since what a plugin holds is copied for each worker."""

AWAY: list[Stub] = []
"""The archives that are away."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        yield made


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    DONE.clear()
    monkeypatch.setattr(running, "TICK", 0.05)
    monkeypatch.setattr(running, "COUNTED", 0.05)
    monkeypatch.setattr(running, "PAUSES", (0.1, 0.2))
    monkeypatch.setattr(running, "POLL", 0.1)
    database = Database(f"sqlite:///{tmp_path / 'labels.sqlite3'}")
    yield Work(database, Campaign("http://archive", "small", "0.1", "http://archive"))
    database.close()


def constant(place: Place) -> Handler:
    assert place.folder.is_dir()
    assert place.device is None

    def handle(claim: Claim) -> Outcome:
        DONE.append(claim.series.uid)
        if claim.series.uid.endswith("3"):
            return Outcome(claim.id, 0.1, error="no volume")
        return Outcome(claim.id, 0.1, {"tumor": 1.0}, 0.5)

    return handle


def run_of(stub: Stub, work: Work, told: list[RunProgress], follow: bool = False) -> Run:
    pacs = Pacs(stub.url)
    return Run(work, Listing(work, pacs, {}), (pacs,), follow, told.append)


def test_every_series_once_and_a_second_run_has_nothing_to_do(stub: Stub, work: Work, client: Client) -> None:
    stub.series = [entry(f"1.{number}") for number in range(1, 200)]
    told: list[RunProgress] = []
    counts = run_of(stub, work, told).go(client, HandlerPlugin("one", constant))
    assert counts == Counts(done=179, failed=20)
    assert sorted(DONE) == sorted(f"1.{number}" for number in range(1, 200))
    assert told[-1].counts == counts
    assert run_of(stub, work, told).go(client, HandlerPlugin("one", constant)) == counts
    assert len(DONE) == 199


def away(place: Place) -> Handler:
    def handle(claim: Claim) -> Outcome:
        DONE.append(claim.series.uid)
        if len(DONE) > 2 * TRIES:
            return Outcome(claim.id, 0.1, {}, 0.5)
        for stub in AWAY:
            stub.failing = [503] * client_module.TRIES
        return Outcome(claim.id, 0.1, error="away", passing=True)

    return handle


def test_an_archive_that_is_away_costs_no_tries(stub: Stub, work: Work, client: Client) -> None:
    stub.series = [entry("1.1")]
    AWAY[:] = [stub]
    assert run_of(stub, work, []).go(client, HandlerPlugin("two", away)) == Counts(done=1)
    assert len(DONE) == 2 * TRIES + 1
    assert stub.failing == []


def test_a_destination_that_is_away_costs_no_tries(stub: Stub, work: Work, client: Client) -> None:
    stub.series = [entry("1.1")]
    with serving() as destination:
        AWAY[:] = [destination]
        pacs, place = Pacs(stub.url), Pacs(destination.url)
        run = Run(work, Listing(work, pacs, {}), (pacs, place), False, [].append)
        assert run.go(client, HandlerPlugin("two", away)) == Counts(done=1)
        assert destination.failing == []


def test_a_series_that_fails_while_the_archive_answers_has_some_tries(stub: Stub, work: Work, client: Client) -> None:
    stub.series = [entry("1.1")]
    AWAY.clear()
    assert run_of(stub, work, []).go(client, HandlerPlugin("three", away)) == Counts(failed=1)
    assert len(DONE) == TRIES


def test_what_arrives_is_followed(stub: Stub, work: Work, client: Client) -> None:
    stub.series = [entry("1.1")]
    ends = time.monotonic() + 60

    def told(progress: RunProgress) -> None:
        assert time.monotonic() < ends
        if progress.counts == Counts(done=1) and len(stub.series) == 1:
            stub.series.append(entry("1.2"))
        if progress.counts == Counts(done=2):
            raise KeyboardInterrupt

    pacs = Pacs(stub.url)
    with pytest.raises(KeyboardInterrupt):
        Run(work, Listing(work, pacs, {}), (pacs,), True, told).go(client, HandlerPlugin("four", constant))


def test_an_archive_that_refuses_ends_the_run(stub: Stub, work: Work, client: Client) -> None:
    stub.failing = [401]
    with pytest.raises(UnavailableError, match="refuses user and password"):
        run_of(stub, work, []).go(client, HandlerPlugin("five", constant))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [("tcp://10.0.0.7:8786", "use tls://"), ("tcp://node:8786", "use tls://"), ("node:8786", "is no address like")],
)
def test_a_scheduler_that_others_could_listen_to_is_refused(address: str, sentence: str) -> None:
    with pytest.raises(WssegError, match=sentence), connected(address, None):
        pass


def test_workers_of_this_machine_keep_the_memory_that_they_need_again() -> None:
    """Dask tells the allocator to give it back at once, which takes a third of the time of a network."""
    with connected(None, 1) as client:
        assert list(client.run(os.environ.get, "MALLOC_TRIM_THRESHOLD_").values()) == [None]
