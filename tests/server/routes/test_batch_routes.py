"""What may be asked of a batch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from wsseg.server.jobs.batch import Batch
from wsseg.server.routes import batch as routes
from wsseg.server.routes.dependencies import served
from wsseg.server.studies.folder import ScanFolder

SCANS = ("a", "b", "c", "d", "e")


def test_a_file_of_the_server_is_no_label(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def infer(request: dict[str, Any]) -> dict[str, Any]:
        asked.append(request)
        return {"file": str(tmp_path / request["image"]), "label": request["image"]}

    for scan in SCANS:
        (tmp_path / f"{scan}.nii.gz").touch()
    store = ScanFolder(tmp_path)
    app = SimpleNamespace(batch=Batch(infer), task=lambda model: None, datastore=lambda: store)
    server = FastAPI()
    server.include_router(routes.router)
    server.dependency_overrides[served] = lambda: app
    params = {"label": "/tmp/of-somebody-else.nii.gz", "device": "cpu"}
    reply = TestClient(server).post("/batch/infer/small?run_sync=true", json=params)
    assert set(reply.json()) == set(SCANS)
    assert {request["label"] for request in asked} == {""}
