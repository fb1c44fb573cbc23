"""A disk of studies that fills up while a server works on it: a sentence, and what was there is whole."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from live import SERVE, Server, running, write_scan

from wsseg.images.formats.nifti import write_nifti

ROOM = 600_000
"""Bytes of the disk."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder))
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(("umount", "-l", str(folder)), check=True)


@pytest.fixture
def server(disk: Path, published: str, tmp_path: Path) -> Iterator[Server]:
    write_scan(disk / "case.nii.gz", (24, 20, 6))
    with running((*SERVE, "--studies", str(disk), "--models", published), tmp_path / "log") as server:
        yield server


def noise(path: Path, count: int) -> Path:
    """A scan of so many voxels in noise, which gzip cannot make smaller."""
    voxels = np.random.default_rng(0).integers(0, 255, (count // 16, 4, 4)).astype(np.uint8)
    write_nifti(path, voxels, np.diag([1.0, 1.0, 5.0, 1.0]))
    return path


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def send(server: Server, method: str, path: str, params: dict[str, Any], **sent: Path) -> requests.Response:
    """A form with ``params`` and files by their field."""
    content = {name: (file.name, file.read_bytes()) for name, file in sent.items()}
    return requests.request(method, server.url + path, data={"params": json.dumps(params)}, files=content, timeout=60)


def test_nothing_is_half_written(server: Server, disk: Path, published: str, tmp_path: Path) -> None:
    large = noise(tmp_path / "large.nii.gz", 100_000)
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(send(server, "POST", f"/infer/{published}?image=case&output=image", {}).content)
    assert send(server, "PUT", "/datastore/label?image=case", {}, label=mask).ok
    filler = disk / ".filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    before = files(disk)
    for refused in (
        send(server, "PUT", "/datastore/image?image=new", {}, file=large),
        send(server, "PUT", "/datastore/image?image=case&replace=true", {}, file=large),
        send(server, "PUT", "/datastore/label?image=case", {}, label=mask),
        send(server, "POST", f"/infer/{published}?image=case", {"save_label": True}),
        send(server, "PUT", "/datastore/updatelabelinfo?label=case&tag=final", {"note": "x"}),
    ):
        assert refused.status_code == 507, refused.text
        assert "cannot be written (No space left on device)" in refused.json()["detail"]
        assert "/tmp" not in refused.text
    assert files(disk) == before
    mark = {"label": "tumor", "marks": [{"slice": 1, "state": 1}], "annotator": "ada"}
    scan = f"{server.url}/annotate/api/scans/case"
    assert requests.put(f"{scan}/presence?model={published}", json=mark, timeout=60).ok, "labels lie elsewhere"
    assert requests.get(f"{scan}?model={published}", timeout=60).json()["presence"]["tumor"][1] == 1
    filler.unlink()
    assert send(server, "PUT", "/datastore/image?image=new", {}, file=large).ok
    assert send(server, "PUT", "/datastore/label?image=case", {}, label=mask).ok
    assert sorted(path.name for path in disk.glob("*.gz")) == ["case.nii.gz", "new.nii.gz"]
