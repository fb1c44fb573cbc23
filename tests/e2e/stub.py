"""An archive in this process that answers as Orthanc does, or as one that is broken or hostile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from live import write_scan
from orthanc import as_itk, write_patient
from pydicom import Dataset, dcmread, dcmwrite

from wsseg.archive.web import client
from wsseg.images.formats.table import read_volume
from wsseg.server.studies.pacs import outbox

JSON = "application/dicom+json"

EDGE = b"--edge"

MULTIPART = 'multipart/related; type="application/dicom"; boundary=edge'


@dataclass
class Stub:
    """What the archive holds and how it answers.

    Attributes:
        series: DICOM JSON of each.
        images: files of each series by its UID.
        paged: whether it heeds limit and offset.
        failing: statuses of the next answers, before it answers rightly.
        cut: how many of the next lists of images break off in the middle.
        seconds: before each answer.
        asked: paths and credentials so far.
        stored: what was sent to it.
        confirms: whether it says that it has what was sent.
        endless: what a list or images go on with for ever, a piece after so many seconds.
    """

    series: list[dict[str, Any]] = field(default_factory=list)
    images: dict[str, list[bytes]] = field(default_factory=dict)
    paged: bool = True
    failing: list[int] = field(default_factory=list)
    cut: int = 0
    seconds: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    stored: list[Dataset] = field(default_factory=list)
    confirms: bool = True
    endless: tuple[bytes, float] | None = None
    url: str = ""

    def add(self, files: list[Path], **told: Any) -> str:
        """Put a series in; ``told`` replaces attributes of what is said of it. Its UID."""
        first = dcmread(files[0])
        uid = str(first.SeriesInstanceUID)
        self.series.append(entry(uid, str(first.StudyInstanceUID), NumberOfSeriesRelatedInstances=len(files), **told))
        self.images[uid] = [file.read_bytes() for file in files]
        return uid


TAGS = {
    "StudyInstanceUID": ("0020000D", "UI"),
    "SeriesInstanceUID": ("0020000E", "UI"),
    "NumberOfSeriesRelatedInstances": ("00201209", "IS"),
    "PatientName": ("00100010", "PN"),
    "PatientID": ("00100020", "LO"),
    "StudyDate": ("00080020", "DA"),
    "Modality": ("00080060", "CS"),
    "SeriesDescription": ("0008103E", "LO"),
}


def entry(uid: str, study: str = "1.2", **attributes: Any) -> dict[str, Any]:
    """DICOM JSON of a series."""
    known = {"SeriesInstanceUID": uid, "StudyInstanceUID": study, "Modality": "MR", **attributes}
    return {TAGS[name][0]: {"vr": TAGS[name][1], "Value": [value]} for name, value in known.items()}


def renamed(file: Path, **attributes: Any) -> bytes:
    """A DICOM file with other attributes, whatever DICOM says of them."""
    image = dcmread(file)
    for name, value in attributes.items():
        image.data_element(name)._value = value
    out = BytesIO()
    dcmwrite(out, image)
    return out.getvalue()


def _fits(values: list[Any] | None, wanted: str) -> bool:
    """Whether an attribute is as asked for: a value, or a day and all after it."""
    if wanted.endswith("-"):
        return bool(values) and values[0] >= wanted[:-1]
    return values == [wanted]


@contextmanager
def serving() -> Iterator[Stub]:
    """A stub that listens."""
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self._may():
                return
            path = urlsplit(self.path)
            if stub.endless:
                self._go_on(MULTIPART if "/studies/" in path.path else JSON, *stub.endless)
            elif path.path.endswith("/instances"):
                self._instances(parse_qs(path.query)["SOPInstanceUID"][0])
            elif "/studies/" in path.path:
                self._images(path.path.rpartition("/")[2])
            else:
                self._list({key: values[0] for key, values in parse_qs(path.query).items()})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if not self._may():
                return
            _, _, part = body.partition(b"\r\n\r\n")
            stub.stored.append(dcmread(BytesIO(part[: part.rfind(b"\r\n--")])))
            self._answer(200, JSON, b'{"00081199": {"vr": "SQ", "Value": []}}')

        def _may(self) -> bool:
            stub.asked.append((self.path, self.headers.get("authorization", "")))
            time.sleep(stub.seconds)
            if stub.failing:
                self._answer(stub.failing.pop(0), "text/html", b"<html>busy</html>")
                return False
            return True

        def _list(self, query: dict[str, str]) -> None:
            wanted = {TAGS[name][0]: value for name, value in query.items() if name in TAGS}
            found = [
                series
                for series in stub.series
                if all(_fits(series.get(tag, {}).get("Value"), value) for tag, value in wanted.items())
            ]
            if stub.paged:
                start = int(query.get("offset", 0))
                found = found[start : start + int(query.get("limit", len(found)))]
            self._answer(200, JSON, json.dumps(found, ensure_ascii=False).encode())

        def _instances(self, uid: str) -> None:
            found = [{"00080018": {"vr": "UI", "Value": [uid]}} for seg in stub.stored if seg.SOPInstanceUID == uid]
            self._answer(200, JSON, json.dumps(found if stub.confirms else []).encode())

        def _images(self, uid: str) -> None:
            if uid not in stub.images:
                return self._answer(404, "text/plain", b"no such series")
            head = b"\r\ncontent-type: application/dicom\r\n\r\n"
            body = b"".join(EDGE + head + image + b"\r\n" for image in stub.images[uid]) + EDGE + b"--\r\n"
            stub.cut, cut = max(stub.cut - 1, 0), stub.cut > 0
            return self._answer(200, MULTIPART, body, len(body) // 2 if cut else len(body))

        def _answer(self, status: int, kind: str, body: bytes, sent: int | None = None) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:sent])

        def _go_on(self, kind: str, piece: bytes, seconds: float) -> None:
            """An answer of no length, until the other side has had enough."""
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(piece)
                    time.sleep(seconds)

        def log_message(self, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        stub.url = f"http://127.0.0.1:{http.server_port}/dicom-web"
        yield stub
        http.shutdown()


@pytest.fixture(name="stub")
def archive_stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """An archive that answers at once."""
    monkeypatch.setattr(client, "BACKOFF", 0.02)
    monkeypatch.setattr(client, "PATIENCE", (1.0, 0.5))
    monkeypatch.setattr(outbox, "PAUSES", (0.1, 0.2))
    with serving() as made:
        yield made


@pytest.fixture(name="files")
def series_files(tmp_path: Path) -> list[Path]:
    """A series of six slices."""
    write_scan(tmp_path / "scan.nii.gz", (16, 16, 6))
    return write_patient(tmp_path / "series", "Ada", as_itk(read_volume(tmp_path / "scan.nii.gz")))
