"""Sessions are made of archives that may be anything."""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from full_disk import largest_file
from wsseg.server.routes import sessions
from wsseg.server.routes.dependencies import served
from wsseg.server.routes.replies import answer_errors
from wsseg.server.sessions import BEGUN, META, WholeSessions
from wsseg.server.studies import unpack

Put = Callable[..., Response]

END_OF_ZIP = b"PK\5\6" + bytes(18)
"""All there is of an empty one."""


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Make a session of archives, by name, where uploads may have 1 MB."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("WSSEG_MAX_UPLOAD_MB", "1")
    server = SimpleNamespace(sessions=lambda: WholeSessions(str(tmp_path / "sessions")))
    app = FastAPI()
    app.include_router(sessions.router)
    app.dependency_overrides[served] = lambda: server
    answer_errors(app)
    client = TestClient(app)

    def put(**archives: bytes) -> Response:
        files = [("files", (name.replace("_", "."), content)) for name, content in archives.items()]
        return client.put("/session/?uncompress=true", files=files)

    return put


def tar(mode: str = "w", **members: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def test_one_file_or_a_series(put: Put) -> None:
    for archive in ({"a_zip": zipped(scan=b"one")}, {"a_tar_gz": tar("w:gz", scan=b"one")}):
        image = Path(put(**archive).json()["session_info"]["image"])
        assert image.read_bytes() == b"one"
    folder = Path(put(a_tar=tar(first=b"1"), b_zip=zipped(second=b"2")).json()["session_info"]["image"])
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]


def test_half_sessions_are_none_and_go_with_those_whose_time_is_over(tmp_path: Path) -> None:
    sessions = WholeSessions(str(tmp_path), 3600)
    scan = tmp_path / "scan.nii.gz"
    names = []
    for _ in range(2):
        scan.write_bytes(b"a scan")
        names.append(sessions.add(scan, 100)[0])
    for half in ("killed", "full", "begun"):
        (tmp_path / half).mkdir()
    (tmp_path / "full" / META).touch()
    for old in ("killed", "full"):
        os.utime(tmp_path / old, (time.time() - BEGUN - 1,) * 2)
    later = WholeSessions(str(tmp_path), 3600)
    assert [later.get_session(name) is not None for name in (*names, "killed", "full")] == [True, True, False, False]
    meta = tmp_path / names[0] / META
    meta.write_text(
        json.dumps({**json.loads(meta.read_text("utf-8")), "last_access_ts": int(time.time()) - 101}), encoding="utf-8"
    )
    assert later.remove_expired() == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[1], "begun"])


def test_a_full_disk_leaves_no_half_session(put: Put, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    content = Random(0).randbytes(100_000)
    with largest_file(50_000):
        for reply in (put(a_zip=zipped(scan=content)), put(a_zip=zipped(scan=bytes(100_000)))):
            assert reply.status_code == 507, reply.text
            assert "cannot be written" in reply.json()["detail"] or "no room" in reply.json()["detail"]
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] in ([], [tmp_path / "sessions"])


@pytest.mark.parametrize("tail", [b"", END_OF_ZIP])
def test_names_that_lead_out_are_refused_whatever_else_the_archive_is(put: Put, tmp_path: Path, tail: bytes) -> None:
    assert put(scan_tar=tar(**{"../../escaped.txt": b"out"}) + tail).status_code == 400
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(put: Put, kind: bytes) -> None:
    entry = tarfile.TarInfo("other")
    entry.type, entry.linkname = kind, "scan"
    reply = put(scan_tar=tar(scan=b"one")[: 2 * tarfile.BLOCKSIZE] + entry.tobuf() + bytes(2 * tarfile.BLOCKSIZE))
    assert reply.status_code == 400
    assert reply.json()["detail"] == "scan.tar: holds a link or a device, pack the files themselves"


def test_more_than_an_upload_is_not_unpacked(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack.shutil, "unpack_archive", lambda *given, **safely: pytest.fail("it is unpacked"))
    claim = tarfile.TarInfo("scan")
    claim.size = 1 << 40
    large = bytes((1 << 20) + 1)
    bombs = {
        "a_zip": zipped(scan=large),
        "a_tar_gz": tar("w:gz", scan=large),
        "b_tar_gz": tar("w:gz", **{str(index): b"" for index in range(2049)}),
        "a_tar": claim.tobuf(tarfile.GNU_FORMAT),
    }
    for name, bomb in bombs.items():
        reply = put(**{name: bomb})
        assert reply.status_code == 413
        assert reply.json()["detail"] == f"{name.replace('_', '.')}: holds more than an upload may"


def test_archives_of_one_request_share_the_limit(put: Put) -> None:
    part = bytes(600 << 10)
    assert put(a_zip=zipped(first=part)).status_code == 200
    assert put(a_zip=zipped(first=part), b_zip=zipped(second=part)).status_code == 413


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_damaged_archives_are_refused(put: Put, kind: str) -> None:
    whole = bytearray(tar(f"w:{kind}", scan=Random(0).randbytes(300_000)))
    middle = len(whole) // 2
    damaged = [bytes(whole[:middle]), b"", b"no archive"]
    if kind != "gz":  # whose sum at the end is not looked at
        whole[middle : middle + 6] = bytes(6)
        damaged.append(bytes(whole))
    for content in damaged:
        reply = put(**{f"scan_tar_{kind}": content})
        assert reply.status_code == 400
        assert reply.json()["detail"].startswith(f"scan.tar.{kind}: is not an archive that can be unpacked")
