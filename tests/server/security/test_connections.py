"""Connections that send without end, wait, or drip: each comes to an end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest
import uvicorn
from fastapi import FastAPI

from wsseg.server.routes.replies import answer_errors
from wsseg.server.security import limits, patience
from wsseg.server.security.access import require_token
from wsseg.server.security.limits import SizeLimit

SECRET = "0123456789abcdef0123"
MEGABYTE = b"x" * (1 << 20)


@pytest.fixture
def app() -> FastAPI:
    """One whose only route is the log-in."""
    app = FastAPI()
    answer_errors(app)
    return app


@pytest.mark.parametrize("length", ["content-length: 1000000000000", "transfer-encoding: chunked"])
def test_a_request_without_end_is_cut_off(app: FastAPI, length: str) -> None:
    app.add_middleware(SizeLimit, max_upload_mb=1)
    require_token(app, SECRET)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), timeout=30) as client:
                form = "content-type: application/x-www-form-urlencoded"
                client.sendall(f"POST /login HTTP/1.1\r\nhost: a\r\n{form}\r\n{length}\r\n\r\n".encode())
                with pytest.raises(ConnectionError):
                    send_without_end(client)
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /sca",
        b"GET /scans/a HTTP/1.1\r\nhost: a\r\n",
        b"POST /login HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\n"
        b"content-length: 9\r\n\r\ntok",
        b"GET /login HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /login HTTP/1.1\r\nhost: a\r\n\r\nGET /lo",
        b"POST /nothing HTTP/1.1\r\nhost: a\r\ncontent-length: 999999\r\n\r\n",
        b"POST /login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\ntok",
        b"GET /login HTTP/1.1\r\nhost: a\r\ncontent-length: 999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ],
    ids=[
        *("nothing", "part of a line", "part of a head", "part of a body", "no second request", "part of a second"),
        *("a body that nobody reads", "part of a chunk", "a body of a GET", "a websocket"),
    ],
)
@pytest.mark.parametrize("dripping", [False, True])
def test_connections_that_wait_come_to_an_end(
    app: FastAPI, sent: bytes, dripping: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(limits, "START_SECONDS", 0.5)
    app.add_middleware(SizeLimit, max_upload_mb=1)
    require_token(app, SECRET)
    config = uvicorn.Config(app, log_level="error", http=patience.PatientProtocol, timeout_keep_alive=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            with socket.create_connection(listening.getsockname(), timeout=20) as client:
                client.sendall(sent)
                answer = _until_closed(client, dripping)
        finally:
            server.should_exit = True
            thread.join()
    if b"content-length: 9\r" in sent:
        assert b" 408 " in answer
        assert b"slower than 4 KB a second" in answer


def _until_closed(client: socket.socket, dripping: bool) -> bytes:
    """All that comes until the other side closes, a byte being sent every now and then."""
    answer, end = b"", time.monotonic() + 20
    client.settimeout(0.1 if dripping else 20)
    while time.monotonic() < end:
        try:
            if not (piece := client.recv(1 << 16)):
                return answer
            answer += piece
        except TimeoutError:
            with contextlib.suppress(OSError):
                client.sendall(b"x")
        except ConnectionResetError:  # closed, with a byte of ours unread
            return answer
    raise AssertionError(f"not closed, answered {answer!r}")


def send_without_end(client: socket.socket) -> None:
    """100 MB, far more than what a system keeps for a connection."""
    for _ in range(100):
        client.sendall(b"100000\r\n" + MEGABYTE + b"\r\n")
