"""Who is let in, how much they may send, and what the log and replies tell of it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from wsseg.errors import WssegError
from wsseg.server.routes.replies import answer_errors
from wsseg.server.security import access
from wsseg.server.security.access import Access, require_token
from wsseg.server.security.limits import LOGIN, SizeLimit
from wsseg.server.security.request_log import RequestLog
from wsseg.server.settings import TOKEN, check_host, read_token

SECRET = "0123456789abcdef0123"
BEARER = {"authorization": f"Bearer {SECRET}"}
MEGABYTE = b"x" * (1 << 20)


@pytest.fixture
def app() -> FastAPI:
    """An application with one route that echoes, and one that fails in a way nobody thought of."""
    app = FastAPI()

    @app.post("/scans/{scan}")
    async def echo(scan: str, request: Request) -> int:
        return len(await request.body())

    @app.get("/scans/{scan}")
    def fail(scan: str) -> None:
        raise RuntimeError(f"/srv/scans/{scan}.nii.gz: nobody thought of this")

    answer_errors(app)
    return app


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def test_token_of_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    assert read_token(None) == ""
    monkeypatch.setenv(TOKEN, SECRET)
    assert read_token(None) == SECRET
    file = tmp_path / "token"
    file.write_text(f"{SECRET[::-1]}\n")
    assert read_token(file) == SECRET[::-1]


@pytest.mark.parametrize("content", [b"", b"short", b"a b" * 10, b"\xff" * 20])
def test_what_is_no_token_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(WssegError, match="--token-file") as refusal:
        read_token(file)
    assert "short" not in str(refusal.value)
    with pytest.raises(WssegError, match="cannot be read"):
        read_token(tmp_path / "nowhere")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_no_guard(host: str) -> None:
    check_host(host, guarded=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "hospital.example", ""])
def test_a_network_is_let_in_only_where_somebody_guards(host: str) -> None:
    check_host(host, guarded=True)
    with pytest.raises(WssegError, match="--token-file"):
        check_host(host, guarded=False)


def test_cookie_ends_and_cannot_be_made_without_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(cookie: str) -> bool:
        return Access(SECRET).allows(access.Headers({"cookie": f"{access.COOKIE}={cookie}"}))

    cookie = Access(SECRET).cookie()
    assert SECRET not in cookie
    assert allowed(cookie)
    ends, proof = cookie.split(".")
    assert not allowed(f"{int(ends) + 1}.{proof}")
    assert not allowed(Access(SECRET[::-1]).cookie())
    for nonsense in ("", ".", "a.b", f"{ends}.", f".{proof}", f"{ends}.ä", '"', SECRET):
        assert not allowed(nonsense)
    monkeypatch.setattr(access.time, "time", lambda: int(ends) + 1)
    assert not allowed(cookie)


@pytest.mark.parametrize("other", ['other={"a":1}', "a[]=1", "=", "odd", 'half="', "wsseg2=1"])
def test_cookies_of_other_servers_on_the_host_lock_nobody_out(other: str) -> None:
    mine = f"{access.COOKIE}={Access(SECRET).cookie()}"
    for cookies in (f"{other}; {mine}", f"{mine}; {other}"):
        assert Access(SECRET).allows(access.Headers({"cookie": cookies}))
    assert not Access(SECRET).allows(access.Headers({"cookie": other}))


def test_token_is_needed_for_more_than_http(app: FastAPI) -> None:
    @app.websocket("/live")
    async def live(connection: WebSocket) -> None:
        await connection.accept()

    require_token(app, SECRET)
    with (
        TestClient(app) as client,  # which starts it up, by no request
        pytest.raises(WebSocketDisconnect) as refusal,
        client.websocket_connect("/live"),
    ):
        pytest.fail("it is let in")
    assert refusal.value.code == 1008


@pytest.mark.parametrize(
    ("asked", "reached"),
    [
        ("/annotate/?scan=a%20b", "/annotate/?scan=a%20b"),
        ("//evil.example/", "/annotate/"),
        ("/\\evil.example/", "/annotate/"),
        ("/\t/evil.example/", "/annotate/"),
        ("https://evil.example/", "/annotate/"),
        ('/"><script>', '/"><script>'),
        ("", "/annotate/"),
    ],
)
def test_login_leads_only_to_this_server(app: FastAPI, asked: str, reached: str) -> None:
    require_token(app, SECRET)
    client = TestClient(app, base_url="https://wsseg.example", follow_redirects=False)
    page = client.get("/login", params={"next": asked})
    assert page.status_code == 200
    assert "<script>" not in page.text
    wrong = client.post("/login", data={"token": "wrong", "next": asked})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    done = client.post("/login", data={"token": SECRET, "next": asked})
    assert done.status_code == 303
    assert done.headers["location"].replace("%22%3E%3Cscript%3E", '"><script>') == reached
    cookie = done.headers["set-cookie"].lower()
    assert SECRET not in cookie
    for word in ("httponly", "samesite=strict", "secure"):
        assert word in cookie


def test_requests_that_are_too_large_are_refused_while_they_arrive(app: FastAPI, client: TestClient) -> None:
    app.add_middleware(SizeLimit, max_upload_mb=1)
    require_token(app, SECRET)
    upload = {"content-type": "multipart/form-data; boundary=edge", **BEARER}

    def pieces(count: int) -> Iterator[bytes]:
        return iter([MEGABYTE] * count)

    assert client.post("/scans/a", content=MEGABYTE, headers=upload).json() == len(MEGABYTE)
    for body in (MEGABYTE + b"x", pieces(2)):
        refused = client.post("/scans/a", content=body, headers=upload)
        assert refused.status_code == 413
        assert "larger than 1 MB" in refused.json()["detail"]
    assert client.post("/scans/a", content=pieces(16), headers=BEARER).json() == 16 << 20
    assert "larger than 16 MB" in client.post("/scans/a", content=pieces(17), headers=BEARER).json()["detail"]
    assert "larger than 64 KB" in client.post("/login", content=b"x" * (LOGIN + 1), headers=upload).json()["detail"]
    length = {"content-length": str(1 << 40), **BEARER}
    assert client.get("/scans/a", headers=length).status_code == 500, "refused for a length that a GET does not have"


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


def send_without_end(client: socket.socket) -> None:
    """100 MB, far more than what a system keeps for a connection."""
    for _ in range(100):
        client.sendall(b"100000\r\n" + MEGABYTE + b"\r\n")


def test_log_tells_the_route_and_not_the_scan(
    app: FastAPI, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wsseg")
    require_token(app, SECRET)
    app.add_middleware(RequestLog)
    client.post("/scans/MEIER_HANS?patient=MEIER", content=b"abc", headers=BEARER)
    client.get("/scans/MEIER_HANS", headers=BEARER)
    client.get("/scans/MEIER_HANS")
    client.get("/nothing/MEIER_HANS", headers=BEARER)
    lines = [record.getMessage() for record in caplog.records if record.name == "wsseg.server.security.request_log"]
    told = [" ".join(line.split()[:3]) for line in lines]
    assert told == ["POST /scans/{scan} 200", "GET /scans/{scan} 500", "GET - 401", "GET - 404"]
    assert lines[0].endswith(" ms testclient")
    assert SECRET not in caplog.text


def test_reply_to_an_error_that_nobody_thought_of_is_a_sentence(client: TestClient) -> None:
    reply = client.get("/scans/MEIER_HANS")
    assert reply.status_code == 500
    assert reply.json() == {"detail": "the server failed on this request (RuntimeError), its log says where"}
