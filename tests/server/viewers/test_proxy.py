"""OHIF's way to the archive, without a server: what is passed on, both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from monailabel.config import settings
from stub import JSON, MULTIPART, Stub, archive_stub, series_files

from wsseg.archive.web.client import PASSWORD, USER
from wsseg.server.routes.replies import answer_errors
from wsseg.server.viewers import proxy

__all__ = ["archive_stub", "series_files"]  # fixtures


@pytest.fixture
def ohif(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """What OHIF asks, of an archive that wants a password."""
    monkeypatch.setenv(USER, "reader")
    monkeypatch.setenv(PASSWORD, "secret")
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", f"{stub.url}/")
    proxy._session.cache_clear()
    app = FastAPI()
    app.include_router(proxy.router)
    answer_errors(app)
    yield TestClient(app)
    proxy._session.cache_clear()


def test_a_search_keeps_its_query_and_gets_our_credentials(ohif: TestClient, stub: Stub, files: list[Path]) -> None:
    stub.add(files, PatientID="Ada")
    stub.add(files, PatientID="Bo")
    found = ohif.get("/proxy/dicom/qido/series?PatientID=Bo", headers={"authorization": "Basic theirs"})
    assert found.headers["content-type"] == JSON
    assert [each["00100020"]["Value"] for each in found.json()] == [["Bo"]]
    [(path, credentials)] = stub.asked
    assert path == "/dicom-web/series?PatientID=Bo"
    assert credentials.startswith("Basic ")
    assert credentials != "Basic theirs"


def test_images_come_and_masks_go_as_they_are(ohif: TestClient, stub: Stub, files: list[Path]) -> None:
    uid = stub.add(files)
    images = ohif.get(f"/proxy/dicom/wado/studies/1.2/series/{uid}")
    assert images.headers["content-type"] == MULTIPART
    assert all(file.read_bytes() in images.content for file in files)
    body = b"--edge\r\ncontent-type: application/dicom\r\n\r\n" + files[0].read_bytes() + b"\r\n--edge--\r\n"
    sent = ohif.post("/proxy/dicom/stow/studies", content=body, headers={"content-type": MULTIPART})
    assert sent.status_code == 200
    assert [image.SeriesInstanceUID for image in stub.stored] == [uid]


def test_what_the_archive_refuses_is_passed_on(ohif: TestClient, stub: Stub) -> None:
    reply = ohif.get("/proxy/dicom/wado/studies/1.2/series/3.4")
    assert (reply.status_code, reply.text) == (404, "no such series")


@pytest.mark.parametrize("path", ["studies", "system/qido", "qido/%2e%2e/system", "wado/studies/%2e%2e/%2e%2e/system"])
def test_nothing_else_of_the_archive_is_reached(ohif: TestClient, stub: Stub, path: str) -> None:
    assert ohif.get(f"/proxy/dicom/{path}").status_code == 404
    assert not stub.asked


def test_a_folder_of_scans_is_no_archive(ohif: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(tmp_path))
    assert "the studies are a folder" in ohif.get("/proxy/dicom/qido/studies").json()["detail"]
