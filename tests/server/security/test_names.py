"""Other web pages, which a browser may be led to, do not get at a server on this machine."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from wsseg.server import serve
from wsseg.server.security.names import KnownNames
from wsseg.server.settings import ServerSettings

SECRET = "0123456789abcdef0123"


def client(local_only: bool) -> TestClient:
    app = FastAPI()
    app.get("/info/")(lambda: {})
    app.add_middleware(KnownNames, local_only=local_only)
    return TestClient(app)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8042", "127.0.0.2:8000", "[::1]", "[::1]:8000"]
)
def test_this_machine_by_any_of_its_names(host: str) -> None:
    assert client(local_only=True).get("/info/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8000",
        "10.0.0.1",
        "[::2]:8000",
        "[::1",
        "",
    ],
)
def test_a_name_that_was_made_to_mean_this_machine(host: str) -> None:
    refused = client(local_only=True).get("/info/", headers={"host": host})
    assert refused.status_code == 400
    assert "127.0.0.1" in refused.json()["detail"]
    assert client(local_only=False).get("/info/", headers={"host": host}).status_code == 200


def test_other_pages_change_nothing() -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 405), ("none", 405)):
        for spelt in (site, site.title()):
            reply = client(local_only=False).post("/info/", headers={"sec-fetch-site": spelt})
            assert reply.status_code == status


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://wsseg.example:8000", "wsseg.example:8000", 405),
        ("http://WSSEG.example:8000", "wsseg.EXAMPLE:8000", 405),
        ("http://wsseg.example", "wsseg.example", 405),
        ("http://wsseg.example", "wsseg.example:80", 405),
        ("https://wsseg.example", "wsseg.example", 405),
        ("http://[::1]:8000", "[::1]:8000", 405),
        ("http://evil.example", "wsseg.example:8000", 403),
        ("http://evil.example:8000", "wsseg.example:8000", 403),
        ("http://wsseg.example:9000", "wsseg.example:8000", 403),
        ("http://wsseg.example.evil.example:8000", "wsseg.example:8000", 403),
        ("null", "wsseg.example:8000", 403),
        ("", "wsseg.example:8000", 403),
        ("http://[", "wsseg.example:8000", 403),
        ("http://wsseg.example:port", "wsseg.example:8000", 403),
    ],
)
def test_pages_are_told_by_their_origin_where_the_browser_says_no_more(origin: str, host: str, status: int) -> None:
    """Over plain HTTP, by a name: what a script or form of another page sends has its Origin and no Sec-Fetch-Site."""
    for method in ("POST", "PUT", "DELETE"):
        asked = {"origin": origin, "host": host}
        assert client(local_only=False).request(method, "/info/", headers=asked).status_code == status
    assert client(local_only=False).get("/info/", headers={"origin": origin, "host": host}).status_code == 200


def test_a_proxy_may_drop_the_port() -> None:
    asked = {"origin": "https://wsseg.example:8443", "host": "wsseg.example", "sec-fetch-site": "same-origin"}
    assert client(local_only=False).post("/info/", headers=asked).status_code == 405
    asked["origin"] = "https://evil.example:8443"
    assert client(local_only=False).post("/info/", headers=asked).status_code == 403


@pytest.mark.parametrize(("token", "proxy", "local"), [("", False, True), (SECRET, False, False), ("", True, False)])
def test_names_are_looked_at_where_nobody_else_guards(
    token: str, proxy: bool, local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "WSSEG_HOME": str(tmp_path / "home")})
    monkeypatch.setattr(serve, "_run", lambda arguments, models, trusted: None)
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.serve(str(tmp_path), "127.0.0.1", port, [], file if token else None, proxy)
    assert ServerSettings.from_environment().local_only == local
