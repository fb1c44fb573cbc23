"""Numbers without end, what is no JSON, and files that are gone: a sentence, and nothing is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from wsseg.errors import WssegError
from wsseg.server.routes import activelearning, batch, datastore, train
from wsseg.server.routes.annotate import labels, next_scan
from wsseg.server.routes.dependencies import served
from wsseg.server.routes.forms import json_object
from wsseg.server.routes.replies import answer_errors
from wsseg.server.security.names import LONGEST, KnownNames

JSON = {"content-type": "application/json"}


@pytest.fixture
def client() -> TestClient:
    """Routes over an application that fails whatever is asked of it."""
    app = FastAPI()
    for part in (activelearning, batch, datastore, train, labels, next_scan):
        app.include_router(part.router)
    app.dependency_overrides[served] = lambda: SimpleNamespace()
    answer_errors(app)

    @app.get("/annotate/api/scans/{scan}/sprite")
    def sprite(scan: str) -> None:
        raise FileNotFoundError(2, "No such file or directory", f"/srv/studies/{scan}.nii.gz")

    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def named(client: TestClient) -> TestClient:
    """The same behind the guard of names, which asks MONAI Label what there is to train."""
    client.app.add_middleware(KnownNames, local_only=False)  # type: ignore[attr-defined]
    return client


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", '"\\ud800"', "9" * 5000])
@pytest.mark.parametrize("shape", ['{{"a": {}}}', '{{"a": [{{"b": {}}}]}}'])
def test_what_no_client_could_read_back_is_refused(client: TestClient, value: str, shape: str) -> None:
    sent = shape.format(value)
    with pytest.raises(WssegError, match="info: is not JSON"):
        json_object("info", sent)
    for path in ("/activelearning/first", "/train/", "/train/small", "/batch/infer/small"):
        reply = client.post(path, content=sent, headers=JSON)
        assert reply.status_code in (400, 404, 422), path
        assert isinstance(reply.json()["detail"], str)
    assert client.put("/datastore/image/info?image=a", data={"info": sent}).status_code == 400


@pytest.mark.parametrize("number", [-(1 << 31), 1 << 31, (1 << 63) - 1, 1 << 63, 10**30])
def test_numbers_have_bounds(client: TestClient, number: int) -> None:
    by: dict[str, Any] = {"annotator": "reader"}
    asked = {
        "/annotate/api/undo": {"revision": number, **by},
        "/annotate/api/scans/a/erase?model=small": {"slice": number, **by},
    }
    for path, body in asked.items():
        reply = client.post(path, json=body)
        assert reply.status_code == 422
        assert "equal to" in reply.json()["detail"]
    marks = {"label": "tumor", "marks": [{"slice": number, "state": 1}], **by}
    assert client.put("/annotate/api/scans/a/presence?model=small", json=marks).status_code == 422
    assert client.get(f"/datastore/dataset?limit_cases={number}").status_code == 422


@pytest.mark.parametrize("name", ["x" * (LONGEST + 1), "ä" * (LONGEST // 2 + 1), "x" * 5000])
def test_names_that_no_file_can_have_are_unknown(named: TestClient, name: str) -> None:
    for path in (
        f"/annotate/api/scans/{name}/sprite",
        f"/annotate/api/models/a/versions/{name}/publish",
        f"/datastore/image/info?image={name}",
        f"/datastore/label/info?label=a&tag={name}",
        f"/annotate/api/scans/a/overlay?model=small&version={name}",
    ):
        assert named.get(path).status_code == 404


def test_a_scan_that_was_removed_meanwhile(client: TestClient) -> None:
    reply = client.get("/annotate/api/scans/MEIER/sprite")
    assert reply.status_code == 404
    assert "removed meanwhile" in reply.json()["detail"]
    assert "MEIER" not in reply.text
