"""MONAI Label's REST API, endpoint by endpoint: what its clients may ask of this server, and what they get.

Where MONAI Label's own server answers a wrong request with a bare 500, this one
answers with a 4xx and a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pytest
import requests
from endpoints import JSON, KNOWN, ROWS, SHAPE, TASK, Row
from live import SERVE, Reply, Server, running, write_scan


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is uploaded: a scan, a mask of it, an archive, and a file that is none of these."""
    folder = tmp_path_factory.mktemp("made")
    write_scan(folder / "new.nii.gz", SHAPE, seed=1)
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([1.0, 1.0, 5.0, 1.0])), folder / "mask.nii.gz")
    (folder / "text.nii.gz").write_text("not an image", encoding="utf-8")
    with ZipFile(folder / "series.zip", "w") as archive:
        archive.write(folder / "new.nii.gz", "new.nii.gz")
    return folder


@pytest.fixture(scope="module")
def server(published: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("studies")
    for seed, name in enumerate(("plain", "labelled")):
        write_scan(folder / f"{name}.nii.gz", SHAPE, seed=seed)
    (folder / "text.nii.gz").write_text("not an image", encoding="utf-8")
    log = tmp_path_factory.mktemp("server") / "log"
    with running((*SERVE, "--studies", str(folder), "--models", published), log) as server:
        yield server


@pytest.fixture(scope="module")
def names(server: Server, made: Path) -> dict[str, str]:
    """What stands in braces in the table."""
    image = requests.get(f"{server.url}/datastore/image?image=plain", timeout=60).content
    whole = (made / "new.nii.gz").read_bytes()
    sent = {"session": [("files", ("a.nii.gz", whole))], "series": [("files", (f"{n}.nii.gz", whole)) for n in "ab"]}
    sessions = {
        name: requests.put(f"{server.url}/session/", files=files, timeout=60).json()["session_id"]
        for name, files in sent.items()
    }
    return {**sessions, "sha256": sha256(image).hexdigest(), "md5": md5(image).hexdigest()}


def matches(expected: Any, found: Any) -> bool:
    """Whether JSON is of a type, a list of such (not empty), an object with at least such fields, or equal."""
    if isinstance(expected, type):
        return isinstance(found, expected)
    if isinstance(expected, list):
        return isinstance(found, list) and bool(found) and all(matches(expected[0], entry) for entry in found)
    if isinstance(expected, dict) and expected:
        return isinstance(found, dict) and all(k in found and matches(v, found[k]) for k, v in expected.items())
    return bool(expected == found)


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.status} {row.ask}" for row in ROWS])
def test_reply(row: Row, server: Server, names: dict[str, str], made: Path) -> None:
    """In the order of the table, as what was changed in one row is seen in the next."""
    method, path = row.ask.split(" ", 1)
    for name, value in names.items():
        path = path.replace(f"{{{name}}}", value)
    files = [(name, (file, (made / file).read_bytes())) for name, file in row.files]
    body = row.body if isinstance(row.body, str) else None if row.body is None else json.dumps(row.body)
    headers = {} if body is None else {"content-type": JSON}
    sent = requests.request(
        method, server.url + path, data=body or row.form, files=files or None, headers=headers, timeout=120
    )
    assert sent.status_code == row.status, sent.text[:500]
    kind = sent.headers.get("content-type", "").split(";")[0]
    if method == "HEAD":
        assert sent.content == b""
    elif row.status >= 400:
        assert row.reply in Reply(sent.status_code, sent.content).detail
    elif isinstance(row.reply, str):
        assert kind == row.reply
        assert sent.content
    else:
        assert kind == JSON
        assert matches(row.reply, sent.json()), sent.text[:1000]


def test_every_route_is_in_the_table(server: Server) -> None:
    """An endpoint that a later MONAI Label adds is seen; our own have tests of their own."""
    asked = {(method, path.split("?")[0]) for method, path in (row.ask.split(" ", 1) for row in ROWS)}
    known = requests.get(f"{server.url}/openapi.json", timeout=60).json()["paths"]
    theirs = {
        (method.upper(), path)
        for path, methods in known.items()
        for method in methods
        if not path.startswith(("/annotate/", "/archive/", "/metrics", "/health"))
    }
    for method, path in theirs:
        shape = re.compile(re.sub(r"\\{.*?\\}", "[^/]+", re.escape(path)))
        assert any(method == asking and shape.fullmatch(at) for asking, at in asked), f"{method} {path}"


def test_batch_inference_stores_a_mask_of_every_scan(server: Server) -> None:
    """With the parameters that MONAI Label's documentation gives, on a machine with a GPU or without."""
    given = {"device": "cuda", "multi_gpu": True, "gpus": "all", "label_tag": "batch", "max_workers": 1}
    url = f"{server.url}/batch/infer"
    done = requests.post(f"{url}/small?run_sync=true", json=given, timeout=120).json()
    masks = {scan: {"label": scan, "tag": "batch", "params": KNOWN} for scan in ("plain", "labelled")}
    assert matches({**masks, "text": {"detail": str}}, done)
    task = requests.get(url, timeout=60).json()
    assert matches(TASK, task)
    assert (task["status"], task["details"][-1]) == ("DONE", "2 of 3 scans were segmented, 1 failed")
    assert any("text: " in line for line in task["details"])
    stored = requests.get(f"{server.url}/datastore/label/info?label=plain&tag=batch", timeout=60).json()
    assert stored["model"] == "small"
    # Without run_sync, a task that is asked about.
    asked = {"images": ["plain"] * 50, "label_tag": "batch"}
    assert matches(TASK, requests.post(f"{url}/small", json=asked, timeout=60).json())
    assert "is being segmented" in requests.post(f"{url}/small", timeout=60).json()["detail"]
    assert requests.get(f"{url}?check_if_running=true", timeout=60).json()["status"] == "RUNNING"
    assert requests.delete(url, timeout=60).json()["status"] == "STOPPED"
    assert requests.get(f"{url}?check_if_running=true", timeout=60).status_code == 404
    assert [task["status"] for task in requests.get(f"{url}?all=true", timeout=60).json()] == ["DONE", "STOPPED"]
