"""Who is let in, how much they may send, and what the log and replies tell of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from wsseg.errors import WssegError
from wsseg.server.routes.replies import answer_errors
from wsseg.server.security import access, cookies, guesses
from wsseg.server.security.access import Access, require_token
from wsseg.server.security.cookies import SHIFT_SECONDS, Cookies
from wsseg.server.security.guesses import AT_ONCE, Guesses, GuessingError
from wsseg.server.security.limits import LOGIN, SizeLimit
from wsseg.server.security.request_log import RequestLog
from wsseg.server.settings import check_host, read_token

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

    @app.put("/datastore/image")
    async def store(request: Request) -> int:
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
    monkeypatch.delenv("WSSEG_TOKEN", raising=False)
    assert read_token(None) == ""
    monkeypatch.setenv("WSSEG_TOKEN", SECRET)
    assert read_token(None) == SECRET
    file = tmp_path / "token"
    file.write_text(f"{SECRET[::-1]}\n", encoding="utf-8")
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
    mine = Access(SECRET)

    def allowed(cookie: str) -> bool:
        return mine.allows(access.Headers({"cookie": f"{access.COOKIE}={cookie}"}), "10.0.0.1")

    cookie = mine.cookies.make()
    assert SECRET not in cookie
    assert allowed(cookie)
    number, ends, proof = cookie.split(".")
    assert not allowed(f"{number}.{ends.swapcase()}.{proof}")
    assert not allowed(f"{number}A.{ends}.{proof}")
    assert not allowed(Access(SECRET[::-1]).cookies.make())
    for nonsense in ("", ".", "a.b", f"{ends}.", f".{proof}", f"{number}.{ends}.ä", '"', SECRET):
        assert not allowed(nonsense)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + SHIFT_SECONDS + 2)
    assert not allowed(cookie)


def test_logout_ends_one_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookies, "LOGGED_OUT", 3)
    kept = Cookies(SECRET)
    made = [kept.make() for _ in range(5)]
    kept.end(made[0])
    assert [kept.is_valid(cookie) for cookie in made] == [False, True, True, True, True]
    kept.end("nonsense")
    for cookie in made:
        kept.end(cookie)
    assert len(kept._ended) == 3


@pytest.mark.parametrize("other", ['other={"a":1}', "a[]=1", "=", "odd", 'half="', "wsseg2=1"])
def test_cookies_of_other_servers_on_the_host_lock_nobody_out(other: str) -> None:
    mine = f"{access.COOKIE}={Access(SECRET).cookies.make()}"
    for sent in (f"{other}; {mine}", f"{mine}; {other}"):
        assert Access(SECRET).allows(access.Headers({"cookie": sent}), "10.0.0.1")
    assert not Access(SECRET).allows(access.Headers({"cookie": other}), "10.0.0.1")


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


def test_logout_closes_the_server_to_the_browser(app: FastAPI) -> None:
    require_token(app, SECRET)
    client = TestClient(app, base_url="https://wsseg.example", follow_redirects=False)
    client.post("/login", data={"token": SECRET})
    stolen = client.cookies[access.COOKIE]
    assert client.post("/scans/a").status_code == 200
    done = client.post("/logout")
    assert (done.status_code, done.headers["location"]) == (303, "/login")
    assert access.COOKIE not in client.cookies
    client.cookies.set(access.COOKIE, stolen)
    assert client.post("/scans/a").status_code == 401, "a copy of the cookie is still good"
    assert client.post("/logout").status_code == 303


@pytest.mark.parametrize("way", ["header", "page", "slicer"])
def test_guesses_are_slowed_down_for_who_guesses(app: FastAPI, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(guesses.time, "monotonic", lambda: now)
    require_token(app, SECRET)
    guesser = TestClient(app, client=("10.0.0.1", 1), follow_redirects=False)
    other = TestClient(app, client=("10.0.0.2", 1), follow_redirects=False)
    browser = TestClient(app, client=("10.0.0.1", 2), follow_redirects=False, base_url="https://wsseg.example")
    browser.post("/login", data={"token": SECRET})

    def send(client: TestClient, token: str) -> int:
        if way == "header":
            return client.post("/scans/a", headers={"authorization": f"Bearer {token}"}).status_code
        if way == "page":
            return client.post("/login", data={"token": token}).status_code
        return client.post("/auth/token", data={"username": "a", "password": token}).status_code

    assert [send(guesser, "wrong") for _ in range(AT_ONCE)] == [401] * AT_ONCE
    assert send(guesser, "wrong") == 429
    assert send(guesser, SECRET) == 429, "the right one is told from wrong ones at full speed"
    assert send(other, SECRET) in (200, 303)
    assert browser.post("/scans/a").status_code == 200, "a browser that has logged in before is locked out"
    now += guesses.EVERY_SECONDS
    assert send(guesser, SECRET) in (200, 303), "it is locked out for longer than that"


def test_a_network_of_ipv6_is_one_guesser_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "ADDRESSES", 5)
    counted = Guesses()
    for host in range(AT_ONCE):
        counted.check("2001:db8::5")
        counted.wrong(f"2001:db8::{host + 1:x}")
    with pytest.raises(GuessingError, match="too many wrong tokens"):
        counted.check("2001:db8::ffff")
    counted.check("2001:db8:0:1::1")
    for host in range(20):
        counted.wrong(f"10.0.0.{host}")
    assert len(counted._made_up) == 5


def test_requests_that_are_too_large_are_refused_while_they_arrive(app: FastAPI, client: TestClient) -> None:
    app.add_middleware(SizeLimit, max_upload_mb=8)
    require_token(app, SECRET)
    upload = {"content-type": "multipart/form-data; boundary=edge", **BEARER}

    def pieces(count: int) -> Iterator[bytes]:
        return iter([MEGABYTE] * count)

    assert client.put("/datastore/image", content=MEGABYTE, headers=upload).json() == len(MEGABYTE)
    for body in (8 * MEGABYTE + b"x", pieces(9)):
        refused = client.put("/datastore/image", content=body, headers=upload)
        assert refused.status_code == 413
        assert "larger than 8 MB" in refused.json()["detail"]
    for kind in ("application/json", "multipart/json", "multipart/form-data; boundary=edge", "text/plain"):
        sent = {"content-type": kind, **BEARER}
        assert client.post("/scans/a", content=pieces(4), headers=sent).json() == 4 << 20
        assert "larger than 4 MB" in client.post("/scans/a", content=pieces(5), headers=sent).json()["detail"]
    held = {"content-type": "application/x-www-form-urlencoded", **BEARER}
    assert client.put("/datastore/image", content=pieces(5), headers=held).status_code == 413
    assert "larger than 64 KB" in client.post("/login", content=b"x" * (LOGIN + 1), headers=upload).json()["detail"]
    length = {"content-length": str(1 << 40), **BEARER}
    assert client.get("/scans/a", headers=length).status_code == 500, "refused for a length that a GET does not have"


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
