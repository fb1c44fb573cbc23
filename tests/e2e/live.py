"""Live servers: started as users start them, on a free port, stopped with Ctrl-C."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from pydicom.uid import generate_uid

START_SECONDS = 120
STOP_SECONDS = 30

SERVE = (sys.executable, "-m", "wsseg", "serve")
PLAIN = (sys.executable, "-m", "monailabel.main", "start_server", "--host", "127.0.0.1")


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["monai.apps", "wsseg.methods.registry"])


class _Serve:
    """``wsseg serve`` in a fork of a process that has imported the libraries, which takes longest of a start.

    What reads the environment, as MONAI Label's settings do, is imported by the fork itself. ``test_serve.py`` and
    ``test_training.py`` start servers from nothing.
    """

    def __init__(self, arguments: tuple[str, ...], log: Path) -> None:
        self._process = _FORKS.Process(target=_serve, args=(arguments, dict(os.environ), log))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int | None:
        self._process.join(seconds)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self._process.kill()


def _serve(arguments: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
    """What a shell does for a command."""
    from wsseg.cli import main

    with log.open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.chdir(log.parent)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["wsseg", "serve", *arguments]
    main()


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """The error's sentence; fails where there is none, or where it shows the server's inside."""
        detail = self.json["detail"]
        assert isinstance(detail, str)
        assert "Traceback" not in detail
        assert "\n" not in detail
        assert "/tmp/" not in detail
        return detail


@dataclass(frozen=True)
class Server:
    url: str
    port: int
    log: Path

    def ask(
        self, path: str, method: str = "GET", fields: dict[str, str] | None = None, file: Path | None = None
    ) -> Reply:
        """One request; ``fields`` and ``file`` go as a multipart form, without them there is no body."""
        body = _form(fields or {}, file) if fields is not None or file is not None else None
        headers = {"content-type": "multipart/form-data; boundary=edge"} if body is not None else {}
        request = Request(self.url + path, body, headers, method=method)
        try:
            with urlopen(request, timeout=120) as reply:
                return Reply(reply.status, reply.read())
        except HTTPError as error:
            return Reply(error.code, error.read())

    def infer(self, model: str, query: str, **params: Any) -> Reply:
        """Segment; ``query`` is the part of the address behind the question mark."""
        return self.ask(f"/infer/{model}?{query}", "POST", {"params": json.dumps(params)})


def _form(fields: dict[str, str], file: Path | None) -> bytes:
    parts = [f'--edge\r\ncontent-disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    if file is not None:
        head = f'--edge\r\ncontent-disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
        parts.append(head.encode() + file.read_bytes() + b"\r\n")
    return b"".join(parts) + b"--edge--\r\n"


@contextmanager
def running(command: tuple[str, ...], log: Path) -> Iterator[Server]:
    """A server process that answers, and that ends with status 0 at Ctrl-C."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = (*command, "--port", str(port))
    process: _Serve | subprocess.Popen[bytes]
    if command[: len(SERVE)] == SERVE:
        process = _Serve(command[len(SERVE) :], log)
    else:
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent)
    server = Server(f"http://127.0.0.1:{port}", port, log)
    try:
        _wait(server, process)
        yield server
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_SECONDS) == 0, log.read_text("utf-8")[-2000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait(server: Server, process: _Serve | subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if server.ask("/info/").status in (200, 401):  # the latter where a token is needed
                return
        except (URLError, ConnectionError):
            time.sleep(0.05)
    pytest.fail(f"the server does not answer:\n{server.log.read_text('utf-8')[-3000:]}")


def write_scan(path: Path, shape: tuple[int, ...], affine: np.ndarray | None = None, seed: int = 0) -> None:
    """A bright ball with a brighter spot in noise."""
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[:3]), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    spot = np.sqrt(sum((axis - 0.2) ** 2 for axis in grid)) < 0.25
    noise = np.random.default_rng(seed).normal(0, 3, shape[:3])
    voxels = np.clip(100 * (radius < 0.8) + 70 * spot + noise, 0, None).astype(np.int16)
    if len(shape) == 4:
        voxels = np.repeat(voxels[..., None], shape[3], axis=3)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 5.0, 1.0]) if affine is None else affine), path)


def oblique_affine() -> np.ndarray:
    """Turned by 35 and 20 degrees, one axis mirrored, unequal spacing, shifted."""
    a, b = np.deg2rad([35.0, 20.0])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.diag([-0.9, 1.1, 4.0])
    affine[:3, 3] = [12.5, -30.25, 7.0]
    return affine


def write_series(folder: Path, scan: sitk.Image) -> None:
    """A classic MR series, one file per slice."""
    study, series, frame = (generate_uid() for _ in range(3))
    direction = np.array(scan.GetDirection()).reshape(3, 3)
    for index in range(scan.GetDepth()):
        plane = scan[:, :, index]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",
            "0008|0018": generate_uid(),
            "0008|0060": "MR",
            "0020|000d": study,
            "0020|000e": series,
            "0020|0052": frame,
            "0020|0013": str(index + 1),
            "0020|0032": "\\".join(f"{v:.9g}" for v in scan.TransformIndexToPhysicalPoint((0, 0, index))),
            "0020|0037": "\\".join(f"{v:.9g}" for v in (*direction[:, 0], *direction[:, 1])),
        }
        for tag, value in tags.items():
            plane.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{index:03d}.dcm"))
        writer.Execute(plane)
