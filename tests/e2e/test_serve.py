"""`wsseg serve`: what it refuses before it starts, and its start where nothing is named."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from live import SERVE, running

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import home
from wsseg.models.shelf import bundled, package_names
from wsseg.server.serve import serve
from wsseg.server.tasks.offered import sound_packages

HOST = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((HOST, 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    """A port that nobody listens on."""
    with socket.socket() as other:
        other.bind((HOST, 0))
        return int(other.getsockname()[1])


def test_port_in_use(taken: int, tmp_path: Path) -> None:
    with pytest.raises(WssegError, match=f"--port {taken}: cannot listen on 127.0.0.1"):
        serve(str(tmp_path), HOST, taken, [])


def test_impossible_port(tmp_path: Path) -> None:
    with pytest.raises(WssegError, match="--port 70000"):
        serve(str(tmp_path), HOST, 70000, [])


def test_missing_studies(free: int, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such folder"):
        serve(str(tmp_path / "nowhere"), HOST, free, [])
    assert not (tmp_path / "nowhere").exists()


def test_archive_that_does_not_answer(free: int) -> None:
    with pytest.raises(WssegError, match="cannot be reached"):
        serve(f"http://{HOST}:{free}/dicom-web", HOST, free, [])


def test_unknown_model(free: int, published: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match='model "nothing" is unknown'):
        serve(str(tmp_path), HOST, free, [published, "nothing"])


def test_errors_are_one_line_of_the_command(taken: int, tmp_path: Path) -> None:
    done = subprocess.run(
        (*SERVE, "--studies", str(tmp_path), "--port", str(taken)), capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"wsseg: --port {taken}: ")
    assert done.stderr.count("\n") == 1


def test_untrained_and_damaged_packages_are_left_out(published: str, caplog: pytest.LogCaptureFixture) -> None:
    broken = home() / "models" / "broken"
    (broken / "1" / "configs").mkdir(parents=True)
    (broken / "1" / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    (broken / "CURRENT").write_text("1\n", encoding="utf-8")
    try:
        names = [package.name for package in sound_packages()]
        assert "broken" in package_names()
    finally:
        (broken / "CURRENT").unlink()
    assert published in names
    assert "broken" not in names
    assert "broken" in caplog.text


def test_demo_study_starts_offline_and_is_segmented(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --studies; any download would meet a proxy that is not there."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", HOST)
    shipped = set(bundled("apps/wsseg").iterdir())
    program = str(Path(sys.executable).with_name("wsseg"))
    with running((program, "serve"), tmp_path / "log") as server:
        info = server.ask("/info/").json
        assert published in info["models"]
        assert info["datastore"]["total"] == 1
        image = server.ask("/activelearning/first", "POST").json["id"]
        assert len(server.infer(published, f"image={image}&output=json").json["presence"]["tumor"]) > 1
        foreign = requests.get(f"{server.url}/info/", headers={"Origin": "http://evil.example"}, timeout=30)
        assert "access-control-allow-origin" not in foreign.headers, "another page's scripts may read the server"
        welcome = server.log.read_text("utf-8")
    assert f"3D Slicer  module MONAI Label, server {server.url}" in welcome
    assert set(bundled("apps/wsseg").iterdir()) == shipped, "the app folder that ships was written into"
