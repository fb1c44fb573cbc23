"""The ways a scan comes in: the reader, the command line, a live server; colour pictures go to a model of their own."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import requests
from formats import WAYS
from live import SERVE, Server, running, write_scan

from conftest import small_package
from wsseg.errors import WssegError
from wsseg.images.formats.table import is_picture, read_volume
from wsseg.images.scan import read_any
from wsseg.images.volume import Volume
from wsseg.models.shelf import publish

Look = Callable[[Path], "bytes | None"]
"""What a scan gives, to be compared: its voxels and grid, or its mask; None if it is refused in a sentence."""


MODELS = {"small": "cam", "colours": "textdiff"}
"""Names and methods of the models that segment: grey scans, and pictures."""


class TooLongError(Exception):
    """An answer took too long."""


@contextmanager
def reader(_folder: Path) -> Iterator[Look]:
    """The library's reader."""

    def look(path: Path) -> bytes | None:
        try:
            volume = read_any(path).volume
        except WssegError:
            return None
        return _content(volume)

    yield look


@contextmanager
def command_line(folder: Path) -> Iterator[Look]:
    """``wsseg segment`` with a small model, in this process."""
    from wsseg.cli import main

    _publish(folder)
    out = folder / "mask.nii.gz"

    def look(path: Path) -> bytes | None:
        errors = io.StringIO()
        arguments = ["wsseg", "segment", str(path), str(out), "--model", _model(path), "--device", "cpu"]
        said = contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO())
        with patch.object(sys, "argv", arguments), said[0], said[1]:
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
        if code == 2 and errors.getvalue().startswith("wsseg: ") and not out.exists():
            return None
        if code:
            raise RuntimeError(f"exit code {code}: {errors.getvalue()[-300:]}")
        mask = _content(read_volume(out))
        out.unlink()
        return mask

    yield look


@contextmanager
def server(folder: Path) -> Iterator[Look]:
    """Uploads to ``/infer`` of a live server with a small model; a series goes as a session's .zip file."""
    _publish(folder)
    studies = folder / "studies"
    studies.mkdir()
    write_scan(studies / "case.nii.gz", (24, 20, 6))

    mask = folder / "mask.nii.gz"
    signal.signal(signal.SIGALRM, _stop)  # the time is the server's, which is to go on
    with running((*SERVE, "--studies", str(studies), "--models", ",".join(MODELS)), folder / "server.log") as live:

        def look(path: Path) -> bytes | None:
            query = "output=image"
            if path.is_dir():
                query += f"&session_id={_session(live, path, folder)}"
            upload = None if path.is_dir() else path
            reply = live.ask(f"/infer/{_model(path)}?{query}", "POST", {"params": "{}"}, upload)
            if reply.status == 400:
                assert reply.detail
                return None
            if reply.status != 200:
                raise RuntimeError(f"status {reply.status}: {reply.body[-300:]!r}")
            mask.write_bytes(reply.body)
            return _content(read_volume(mask))

        yield look


def _session(live: Server, series: Path, folder: Path) -> str:
    """A session with a series, which goes as a .zip file."""
    packed = Path(shutil.make_archive(str(folder / "series"), "zip", series))
    files = {"files": (packed.name, packed.read_bytes())}
    reply = requests.put(f"{live.url}/session/?uncompress=true", files=files, timeout=60)
    return str(reply.json()["session_id"])


def _content(volume: Volume) -> bytes:
    """Voxels and grid."""
    return volume.voxels.tobytes() + volume.affine.tobytes()


def _stop(*_signal: object) -> None:
    raise TooLongError


def _publish(folder: Path) -> None:
    os.environ["WSSEG_HOME"] = str(folder / "home")
    models = folder / "home" / "models"
    for name, method in MODELS.items():
        small_package(models / name / "0.1", method)
        publish(models, name, "0.1")


def _model(path: Path) -> str:
    return "colours" if is_picture(path) else "small"


OPENED: dict[str, Callable[[Path], contextlib.AbstractContextManager[Look]]] = dict(
    zip(WAYS, (reader, command_line, server), strict=True)
)
