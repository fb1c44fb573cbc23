"""What is to be done and what is done: claimed by one, done once, and how far the archive's list was read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from stub import Stub, archive_stub, entry

from wsseg.archive import listing, overview, schema
from wsseg.archive.listing import Listing
from wsseg.archive.web import client
from wsseg.archive.web.client import Pacs
from wsseg.archive.web.series import Series
from wsseg.archive.work import TRIES, Campaign, Counts, Outcome, Work
from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.labels.database import schema as labels
from wsseg.labels.database.connection import Database
from wsseg.labels.database.store import LabelStore
from wsseg.labels.project import Project

__all__ = ["archive_stub"]

CAMPAIGN = Campaign("http://archive", "small", "0.1", "http://archive")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty one, and empty again afterwards."""
    url = f"sqlite:///{tmp_path / 'labels.sqlite3'}"
    if request.param == "postgresql":
        url = os.environ.get("WSSEG_TEST_POSTGRESQL", "")
        if not url:
            pytest.skip("no PostgreSQL server, set WSSEG_TEST_POSTGRESQL to the URL of an empty database")
    made = Database(url)
    yield made
    with made.writing() as connection:
        schema.schema.drop_all(connection)
        labels.schema.drop_all(connection)
    made.close()


@pytest.fixture
def work(database: Database) -> Work:
    return Work(database, CAMPAIGN)


def add(work: Work, *uids: str) -> int:
    with work.database.writing() as connection:
        return work.add(connection, [Series(uid, "1.2", 3, {}) for uid in uids])


def claimed(work: Work, owner: str, count: int = 10) -> list[str]:
    return [claim.series.uid for claim in work.claim(count, owner)]


def test_a_series_is_claimed_by_one_and_done_once(work: Work) -> None:
    assert add(work, "1.1", "1.2", "1.3") == 3
    assert add(work, "1.3", "1.4", "1.4") == 1
    first = work.claim(2, "a")
    assert [claim.series.uid for claim in first] == ["1.1", "1.2"]
    assert claimed(work, "b") == ["1.3", "1.4"]
    assert claimed(work, "c") == []
    work.note([Outcome(first[0].id, 2.5, {"tumor": 1.5}, 0.75), Outcome(first[1].id, 1.0, error="no volume")])
    work.note([Outcome(first[0].id, 9.0, error="too late")])
    assert work.counts() == Counts(waiting=0, claimed=2, done=1, failed=1)
    work.give_back("b")
    assert work.counts() == Counts(waiting=2, claimed=0, done=1, failed=1)
    assert work.retry() == 1
    assert claimed(work, "d") == ["1.2", "1.3", "1.4"], "in the order in which they came"


def test_the_work_of_who_was_killed_is_taken_over(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    monkeypatch.setattr("wsseg.archive.work.time.time", lambda: now)
    add(work, "1.1", "1.2")
    assert claimed(work, "killed", 1) == ["1.1"]
    assert claimed(work, "alive", 1) == ["1.2"]
    now += 50
    work.renew("alive")
    now += 50
    assert claimed(work, "third") == ["1.1"]


def test_what_may_pass_is_tried_again_a_few_times(work: Work) -> None:
    add(work, "1.1")
    for _ in range(TRIES):
        (claim,) = work.claim(1, "a")
        work.note([Outcome(claim.id, 0.1, error="busy", passing=True)])
    assert work.counts() == Counts(failed=1)


def test_campaigns_share_nothing_and_are_found_again(database: Database, work: Work) -> None:
    add(work, "1.1")
    other = Work(database, Campaign("http://archive", "small", "0.2", "http://archive"))
    assert claimed(other, "a") == []
    assert add(other, "1.1") == 1
    assert Work(database, CAMPAIGN).id == work.id != other.id


def test_the_tables_lie_beside_labels(tmp_path: Path) -> None:
    """Into a database that has labels, and one of a later version is left alone."""
    url = f"sqlite:///{tmp_path / 'labels.sqlite3'}"
    LabelStore(url, Project("p", "p")).close()
    database = Database(url)
    add(Work(database, CAMPAIGN), "1.1")
    LabelStore(url, Project("p", "p")).close()
    with database.writing() as connection:
        connection.execute(sa.update(schema.store).values(format=2))
    with pytest.raises(WssegError, match="archive work is of format 2"):
        Work(database, CAMPAIGN)
    database.close()


def test_tables_without_times_are_brought_over(database: Database, work: Work) -> None:
    """As the first commit that had them made them."""
    add(work, "1.1")
    with database.writing() as connection:
        connection.execute(sa.DDL("DROP INDEX archive_series_by_time"))
        connection.execute(sa.DDL("ALTER TABLE archive_series DROP COLUMN finished"))
    again = Work(database, CAMPAIGN)
    (claim,) = again.claim(1, "a")
    again.note([Outcome(claim.id, 1.0)])
    with database.reading() as connection:
        assert connection.scalar(sa.select(schema.series.c.finished)) is not None
        found = sa.inspect(connection).get_indexes("archive_series")
    assert "archive_series_by_time" in {index["name"] for index in found}


@pytest.mark.parametrize("odd", ["\0", "\udc80"])
def test_a_failure_may_quote_anything(database: Database, work: Work, odd: str) -> None:
    add(work, "1.1")
    (claim,) = work.claim(1, "a")
    work.note([Outcome(claim.id, 1.0, error=f"no class {odd}")])
    with database.reading() as connection:
        assert connection.scalar(sa.select(schema.series.c.error)) == "no class ?"


def test_another_version_takes_what_the_one_before_was_least_sure_of(database: Database, work: Work) -> None:
    add(work, *(f"1.{number}" for number in range(10)))
    claims = work.claim(10, "a")
    work.note([Outcome(claim.id, 1.0, {}, 0.9 - 0.05 * k) for k, claim in enumerate(claims[:9])])
    work.note([Outcome(claims[9].id, 1.0, error="no volume")])
    with pytest.raises(NotFoundError, match="no version before it"):
        work.take_doubtful()
    newer = Work(database, Campaign("http://archive", "small", "0.2", "http://archive"))
    assert newer.take_doubtful() == 2
    assert newer.take_doubtful() == 0
    assert sorted(claimed(newer, "b")) == ["1.7", "1.8"]
    other = Work(database, Campaign("http://archive", "another", "0.2", "http://archive"))
    with pytest.raises(NotFoundError):
        other.take_doubtful()


def asked(stub: Stub) -> list[str]:
    """The questions so far, which are forgotten then."""
    questions = [path.partition("?")[2] for path, _ in stub.asked]
    stub.asked.clear()
    return questions


def test_a_list_goes_on_where_it_was_and_then_asks_for_what_is_new(
    stub: Stub, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    monkeypatch.setattr(client, "TRIES", 1)
    stub.series = [entry(f"1.{number}", StudyDate=f"2024010{number}") for number in range(1, 6)]
    now = 1_000_000.0
    monkeypatch.setattr("wsseg.archive.listing.time.time", lambda: now)
    reading = Listing(work, Pacs(stub.url), {"Modality": "MR"})
    pages = Pacs.pages

    def broken(self: Pacs, filters: dict[str, str], start: int = 0) -> Iterator[list[Series]]:
        yield next(pages(self, filters, start))
        raise UnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Pacs, "pages", broken)
        with pytest.raises(UnavailableError):
            reading.read()
    assert work.counts().total == 2
    asked(stub)
    assert Listing(work, Pacs(stub.url), {"Modality": "MR"}).read() == 3
    assert all("offset=2" in question or "offset=4" in question for question in asked(stub))
    stub.series.append(entry("1.9", StudyDate="20240105"))
    assert reading.read() == 1
    assert all("StudyDate=20240103-" in question for question in asked(stub))
    now += listing.ANEW + 1
    stub.series.append(entry("1.0", StudyDate="19990101"))
    assert reading.read() == 1
    assert not any("StudyDate=" in question for question in asked(stub))


def test_days_to_come_hide_nothing(stub: Stub, work: Work) -> None:
    stub.series = [entry("1.1", StudyDate="99991231"), entry("1.2", StudyDate="20240105")]
    reading = Listing(work, Pacs(stub.url), {})
    reading.read()
    asked(stub)
    reading.read()
    assert "StudyDate=20240103-" in asked(stub)[0]


def test_volumes_are_of_the_newest_cases(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    add(work, "1.1", "1.2")
    of_old, of_late = work.claim(2, "a")
    for claim, size in ((of_old, 7.0), (of_late, 3.0)):
        work.note([Outcome(claim.id, 1.0, {"tumor": size}, 0.5)])
    with work.database.writing() as connection:  # as what was done before series had a time
        connection.execute(sa.update(schema.series).where(schema.series.c.id == of_old.id).values(finished=None))
    monkeypatch.setattr(overview, "SAMPLE", 1)
    (histogram,) = overview.Overview(work.database).volumes(work.id)
    assert histogram.median == 3.0
