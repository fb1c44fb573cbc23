"""Metrics without names, health, and what the archive's page is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from wsseg.archive.overview import BARS, Overview
from wsseg.archive.web.series import Series
from wsseg.archive.work import Campaign, Outcome, Work
from wsseg.errors import UnavailableError
from wsseg.labels.database.connection import Database
from wsseg.server.operations import metrics, routes
from wsseg.server.operations.archives import serve_archive_page
from wsseg.server.routes.dependencies import served
from wsseg.server.routes.replies import answer_errors
from wsseg.server.security.access import require_token
from wsseg.server.security.request_log import RequestLog

ARCHIVE = "http://archive"


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    """Ten series: six done, two failed for one reason and one for another, one waiting."""
    database = Database(f"sqlite:///{tmp_path / 'labels.sqlite3'}")
    made = Work(database, Campaign(ARCHIVE, "small", "0.1", ARCHIVE))
    with database.writing() as connection:
        made.add(connection, [Series(f"1.{number}", "1.2", 3, {}) for number in range(10)])
    claims = made.claim(9, "a")
    done = [Outcome(claim.id, 1.0, {"tumor": 2.0 * k}, 0.9 - 0.1 * k) for k, claim in enumerate(claims[:6])]
    failed = [Outcome(claim.id, 1.0, error=f"{claim.series.uid}: no volume") for claim in claims[6:8]]
    made.note([*done, *failed, Outcome(claims[8].id, 1.0, error="too little memory")])
    yield made
    database.close()


class _Store:
    """Labels of a database that may be down."""

    project = SimpleNamespace(id=ARCHIVE)
    down = False

    def revision(self) -> int:
        if self.down:
            raise UnavailableError("labels: connection refused")
        return 1


@pytest.fixture
def store() -> _Store:
    return _Store()


@pytest.fixture
def app(work: Work, store: _Store) -> FastAPI:
    """The routes, over an application that has one model."""
    package = SimpleNamespace(name="small", metadata=SimpleNamespace(version="0.1"))
    wsseg = SimpleNamespace(
        weak_labels=SimpleNamespace(store=store), packages=lambda: [package], archives=Overview(work.database)
    )
    app = FastAPI()
    app.dependency_overrides[served] = lambda: wsseg
    app.include_router(routes.router)
    serve_archive_page(app)
    answer_errors(app)
    return app


def test_metrics_name_routes_and_models_but_no_scan(app: FastAPI) -> None:
    @app.get("/scans/{scan}")
    def scan(scan: str) -> str:
        return scan

    app.add_middleware(RequestLog)
    client = TestClient(app)
    before = client.get("/metrics").text
    client.get("/scans/Ada_Lovelace")
    client.request("ADA", "/nowhere/Ada")
    with metrics.queued("cpu"), metrics.computed("small", "0.1"):
        during = client.get("/metrics").text
    with pytest.raises(ValueError, match="Ada"), metrics.computed("small", "0.1"):
        raise ValueError("Ada")
    told = client.get("/metrics").text
    assert 'wsseg_queue{device="cpu"} 1.0' in during
    for line in (
        'wsseg_requests_total{method="GET",route="/scans/{scan}",status="200"} 1.0',
        'wsseg_requests_total{method="other",route="-",status="404"} 1.0',
        'wsseg_queue{device="cpu"} 0.0',
        'wsseg_model{model="small",version="0.1"} 1.0',
        'wsseg_archive_series{campaign="1",model="small",state="failed",version="0.1"} 3.0',
    ):
        assert line in told, line
    for counted in ('wsseg_masks_total{model="small",version="0.1"}', 'wsseg_mask_failures_total{model="small"}'):
        assert _value(told, counted) == _value(before, counted) + 1  # other tests of this process count too
    assert "Ada" not in told


def _value(metrics: str, name: str) -> float:
    found = [line for line in metrics.splitlines() if line.startswith(name)]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def test_health_needs_no_token_and_heeds_the_database(app: FastAPI, store: _Store) -> None:
    require_token(app, "0123456789abcdef0123")
    client = TestClient(app)
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/metrics").status_code == 401
    store.down = True
    assert client.get("/health").status_code == 503


def test_the_page_is_told_how_far_what_failed_and_the_worst(app: FastAPI) -> None:
    client = TestClient(app)
    (campaign,) = client.get("/archive/api/campaigns").json()
    assert campaign["counts"] == {"waiting": 1, "claimed": 0, "done": 6, "failed": 3}
    assert campaign["lately"] == 9
    found = client.get(f"/archive/api/campaigns/{campaign['id']}").json()
    assert [(f["reason"], f["count"]) for f in found["failures"]] == [("*: no volume", 2), ("too little memory", 1)]
    assert [case["uid"] for case in found["worst"]] == ["1.5", "1.4", "1.3", "1.2", "1.1", "1.0"]
    (volumes,) = found["volumes"]
    assert (volumes["label"], volumes["median"], sum(volumes["counts"])) == ("tumor", 5.0, 6)
    assert (len(volumes["counts"]), len(volumes["edges"])) == (BARS, BARS + 1)
    assert found["served"] is True
    missing = client.get("/archive/api/campaigns/7")
    assert (missing.status_code, missing.json()["detail"]) == (404, 'campaign "7" is unknown')
    page = client.get("/archive")
    assert "archive.js" in page.text
    assert client.get("/archive/archive.js").headers["content-type"].startswith("text/javascript")
