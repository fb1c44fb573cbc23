"""What may be asked of a batch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from wsseg.server.jobs.batch import Batch
from wsseg.server.routes import batch as routes
from wsseg.server.routes.dependencies import served
from wsseg.server.routes.replies import answer_errors
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.tasks.request import InferReply, InferRequest

SCANS = ("a", "b", "c", "d", "e")


@pytest.fixture
def asked() -> list[InferRequest]:
    """What came to be segmented."""
    return []


@pytest.fixture
def client(tmp_path: Path, asked: list[InferRequest]) -> TestClient:
    def segment(request: InferRequest) -> InferReply:
        asked.append(request)
        return InferReply(tmp_path / request.image, request.image, request.label_tag, {})

    for scan in SCANS:
        (tmp_path / f"{scan}.nii.gz").touch()
    store = ScanFolder(tmp_path)
    app = SimpleNamespace(batch=Batch(segment), task=lambda model: None, datastore=lambda: store)
    server = FastAPI()
    server.include_router(routes.router)
    answer_errors(server)
    server.dependency_overrides[served] = lambda: app
    return TestClient(server)


def test_a_file_of_the_server_is_no_label(client: TestClient, asked: list[InferRequest]) -> None:
    params = {"label": "/tmp/of-somebody-else.nii.gz", "device": "cpu"}
    reply = client.post("/batch/infer/small?run_sync=true", json=params)
    assert set(reply.json()) == set(SCANS)
    assert [request.strokes for request in asked] == [None] * len(SCANS)


def test_masks_are_stored_and_rows_are_not_kept(client: TestClient, asked: list[InferRequest]) -> None:
    params = {"device": ["cpu"], "save_as_label": True, "save_label": False, "label_tag": "first", "gpus": "all"}
    client.post("/batch/infer/small?run_sync=true", json=params)
    assert {(each.model, each.save_label, each.save_as_label, each.label_tag) for each in asked} == {
        ("small", True, False, "first")
    }
    assert {each.device for each in asked} == {"cpu"}
    told = client.get("/batch/infer").json()["request"]
    assert (told["model"], told["label_tag"], told["result_extension"]) == ("small", "first", ".nii.gz")


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"device": "cuda:99"}, '"cuda:99" is not there'),
        ({"label_tag": "../out"}, 'label_tag "../out"'),
        ({"result_extension": ".jpg"}, '".jpg" is unknown'),
        ({"presence": {"tumor": 1}}, "tumor must be a list"),
    ],
)
def test_a_wrong_field_is_refused_before_any_scan(
    client: TestClient, asked: list[InferRequest], params: dict[str, Any], part: str
) -> None:
    reply = client.post("/batch/infer/small?run_sync=true", json=params)
    assert reply.status_code == 400
    assert part in reply.json()["detail"]
    assert asked == []
