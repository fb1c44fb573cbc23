"""An archive in trouble: busy, slow, not an archive at all, behind a certificate that nobody signed."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from wsseg.archive.web import client as pacs
from wsseg.archive.web.client import Pacs
from wsseg.archive.web.replies import RefusedError
from wsseg.errors import UnavailableError, WssegError
from wsseg.server.serve import check_studies


class Trouble(BaseHTTPRequestHandler):
    """Stands for an archive, or for what is in front of it; ``answers`` are given in their turn, the last for ever."""

    answers: list[tuple[int, str, bytes]] = []
    seconds = 0.0
    asked = 0

    def do_GET(self) -> None:
        cls = type(self)
        status, kind, body = cls.answers[min(cls.asked, len(cls.answers) - 1)]
        cls.asked += 1
        time.sleep(cls.seconds)
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pacs]:
    monkeypatch.setattr(pacs, "BACKOFF", 0.05)
    monkeypatch.setattr(pacs, "PATIENCE", (1.0, 0.3))
    monkeypatch.setattr(Trouble, "asked", 0)
    with serving() as port:
        yield Pacs(f"http://127.0.0.1:{port}/dicom-web")


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[int]:
    """The port on which there is trouble, encrypted where a certificate with its key is given."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Trouble) as http:
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
        threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
        yield http.server_port
        http.shutdown()


JSON = "application/dicom+json"
ONE = json.dumps([{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3"]}}]).encode()
BUSY = (503, "text/html", b"busy")


def test_what_passes_is_tried_again(trouble: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trouble, "answers", [BUSY, BUSY, (200, JSON, ONE)])
    found = trouble.find("1.2.3")
    assert found is not None
    assert (found.study, found.images, Trouble.asked) == ("1.2", 0, 3)
    monkeypatch.setattr(Trouble, "answers", [BUSY])
    with pytest.raises(UnavailableError, match="answers with status 503"):
        trouble.find("1.2.3")
    assert Trouble.asked == 6


@pytest.mark.filterwarnings("ignore:message sent by origin server")
@pytest.mark.parametrize(
    "answer",
    [
        (200, "text/html", b"<html>Please log in</html>"),
        (200, JSON, b'{"a": 1}'),
        (200, JSON, b'[{"0020000E": 5}]'),
        (200, JSON, b"[[]]"),
        (200, JSON, b"\xff\xfe\x00"),
    ],
)
def test_garbage_is_no_series(
    answer: tuple[int, str, bytes], trouble: Pacs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Trouble, "answers", [answer])
    with pytest.raises(RefusedError, match="does not answer as DICOMweb does"):
        trouble.series({})
    assert Trouble.asked == 1
    series = pacs.Series("1.2.3", "1.2", 4, {})
    with pytest.raises(UnavailableError):
        trouble.fetch(series, tmp_path)


def test_an_archive_that_takes_too_long(trouble: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trouble, "answers", [(200, JSON, ONE)])
    monkeypatch.setattr(Trouble, "seconds", 1.0)
    with pytest.raises(UnavailableError, match="does not answer in time"):
        trouble.find("1.2.3")
    assert Trouble.asked == 3


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's Orthanc crashes when it encrypts."""
    monkeypatch.setattr(Trouble, "answers", [(200, JSON, b"[]")])
    file = tmp_path / "pem"
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names)
    run((*command, "-keyout", tmp_path / "key", "-out", tmp_path / "crt"), check=True, capture_output=True)
    file.write_text((tmp_path / "key").read_text("utf-8") + (tmp_path / "crt").read_text("utf-8"), encoding="utf-8")
    with serving(file) as port:
        url = f"https://127.0.0.1:{port}/dicom-web"
        with pytest.raises(WssegError, match="its certificate is not trusted"):
            check_studies(url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "crt"))
        assert check_studies(url) == url
