"""MONAI Label's REST API, endpoint by endpoint: what its clients may ask of this server, and what they get.

Where MONAI Label's own server answers a wrong request with a bare 500, this one
answers with a 4xx and a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import md5, sha256
from pathlib import Path
from shutil import which
from typing import Any
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pytest
import requests
from live import SERVE, Reply, Server, running, write_scan

JSON = "application/json"
HTML = "text/html"
TEXT = "text/plain"
FILE = "application/octet-stream"
SHAPE = (20, 24, 6)
DEEP = "[" * 100_000

Files = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Row:
    """One request and what is expected of its reply.

    Attributes:
        ask: method and path; ``{session}`` and ``{series}`` are sessions of one file and of two.
        status: of the reply.
        reply: of JSON, see :func:`matches`; of an error, words of its sentence;
            of anything else, its content type.
        form: fields of a form.
        files: of the form: name of the field, and of a file of the fixture ``made``.
        body: sent as JSON; as it is where it is a string.
    """

    ask: str
    status: int = 200
    reply: Any = None
    form: dict[str, str] = field(default_factory=dict)
    files: Files = ()
    body: Any = None


TASK = {"id": str, "status": str, "request": dict, "start_ts": str}
STATS = {"total": int, "completed": int, "label_tags": dict}
SAMPLE = {"id": str, "name": str, "path": str, "ts": int}
SESSION = {"name": str, "path": str, "image": str, "meta": dict, "create_ts": int, "last_access_ts": int, "expiry": int}
MODEL = {
    "type": "segmentation",
    "labels": {"tumor": 1},
    "dimension": 3,
    "description": str,
    "config": {"device": [str]},
}
INFO = {
    "name": "wsseg",
    "description": str,
    "version": str,
    "labels": ["tumor"],
    "models": {"small": MODEL},
    "trainers": {"small": {"description": str, "config": dict}},
    "strategies": {"random": {"description": str}, "first": {"description": str}},
    "scoring": {},
    "train_stats": {"small": dict},
    "datastore": STATS,
}
KNOWN = {"label_names": {"tumor": 1}, "latencies": {"total": float}, "presence": {"tumor": [float]}}
STORED = {"image": "labelled", "label": "labelled"}

ROWS = (
    # /, what it is
    Row("GET /", reply=HTML),
    Row("GET /docs", 404, "Not Found"),
    Row("GET /openapi.json", reply={"openapi": str, "paths": {"/infer/{model}": dict, "/train/{model}": dict}}),
    Row("GET /favicon.ico", reply="image/x-icon"),
    Row("GET /nothing", 404, "Not Found"),
    Row("DELETE /info/", 405, "Method Not Allowed"),
    # /info
    Row("GET /info/", reply=INFO),
    # /infer
    Row("POST /infer/small?image=plain", reply="multipart/form-data"),
    Row("POST /infer/small?image=plain&output=all", reply="multipart/form-data"),
    Row("POST /infer/small?image=plain&output=json", reply=KNOWN),
    Row("POST /infer/small?image=plain&output=image", reply=FILE),
    Row("POST /infer/small?output=json", reply=KNOWN, files=(("file", "new.nii.gz"),)),
    Row("POST /infer/small?session_id={session}&output=json", reply=KNOWN),
    # Seeds and points of other apps' models are no concern of ours.
    Row("POST /infer/small?image=plain&output=json", reply=KNOWN, form={"params": '{"foreground": [[1, 2, 3]]}'}),
    Row("POST /infer/small", 400, "name an image"),
    Row("POST /infer/small?image=", 400, "name an image"),
    Row("POST /infer/small?image=nothing", 404, "nothing"),
    Row("POST /infer/small?image=/etc/passwd", 404, "/etc/passwd"),
    Row("POST /infer/small?image=..%2Fplain", 404, "../plain"),
    Row("POST /infer/small?session_id=nothing", 404, "nothing"),
    Row("POST /infer/nothing?image=plain", 404, '"nothing" is unknown, offered are: small'),
    Row("POST /infer/small?image=plain&output=picture", 422, "query.output"),
    Row("POST /infer/small?image=plain&output=dicom_seg", 400, "not a DICOM series"),
    Row("POST /infer/small?image=plain", 400, "not JSON", form={"params": "{"}),
    Row("POST /infer/small?image=plain", 400, "not JSON", form={"params": DEEP}),
    Row("POST /infer/small?image=plain", 400, "not JSON", form={"params": '{"device": ' + "1" * 5000 + "}"}),
    Row("POST /infer/small?image=plain", 400, "not JSON", form={"params": r'{"device": "\ud800"}'}),
    Row("POST /infer/small?image=plain", 400, "is not there", form={"params": '{"device": {"a": 1}}'}),
    Row("POST /infer/small", 400, "text.nii.gz: ", files=(("file", "text.nii.gz"),)),
    # /infer/wsi: slides of pathology, which no model of ours reads
    Row("POST /infer/wsi/small?image=plain", 400, "slides", body={}),
    Row("POST /infer/wsi_v2/small?image=plain", 400, "slides"),
    Row("POST /infer/wsi_v2/nothing?image=plain", 404, "nothing"),
    # /batch/infer
    Row("GET /batch/infer", 404, "no scans were segmented in a batch yet"),
    Row("DELETE /batch/infer", reply=None),
    Row("POST /batch/infer/nothing", 404, "nothing"),
    Row("POST /batch/infer/small?images=some", 422, "query.images"),
    Row("POST /batch/infer/small", 422, "body", body=[1]),
    Row("POST /batch/infer/small", 400, "max_batch_size", body={"max_batch_size": "many"}),
    Row("POST /batch/infer/small", 404, "nothing", body={"images": ["nothing"]}),
    Row("POST /batch/infer/small", 400, "images: must be", body={"images": 3}),
    Row("POST /batch/infer/small", 400, "label_tag", body={"label_tag": "../out"}),
    # /train; what training does when there are labels is another test's
    Row("GET /train/", 404, "no model was trained yet"),
    Row("GET /train/?check_if_running=true", 404, "no model is being trained"),
    Row("POST /train/small", 400, "label some first"),
    Row("POST /train/", 400, "label some first"),
    Row("POST /train/nothing", 404, "nothing"),
    Row("POST /train/small", 422, "body", body=[1]),
    Row("POST /train/small", 422, "body", body="{"),
    Row("DELETE /train/", reply=None),
    # /scoring: our strategies score by themselves
    Row("GET /scoring/", 404, "Scoring"),
    Row("POST /scoring/", reply={}),
    Row("POST /scoring/dice", 404, "dice"),
    Row("DELETE /scoring/", reply=None),
    # /activelearning
    *(
        Row(f"POST /activelearning/{strategy}", reply=SAMPLE, body={"client_id": "ada"})
        for strategy in ("informative", "uncertainty", "disagreement", "diversity", "random", "first")
    ),
    Row("POST /activelearning/random", reply=SAMPLE),
    Row("POST /activelearning/nothing", 404, "nothing"),
    Row("POST /activelearning/first", 404, "nothing", body={"model": "nothing"}),
    Row("POST /activelearning/first", reply=SAMPLE, body={"strategy": ["first"]}),
    Row("POST /activelearning/first", 422, "body", body=[1]),
    # /datastore
    Row("GET /datastore/", reply=STATS),
    Row("GET /datastore/?output=stats", reply=STATS),
    Row("GET /datastore/?output=all", reply={"objects": {"plain": {"image": {"ext": ".nii.gz"}, "labels": dict}}}),
    Row("GET /datastore/?output=some", 422, "query.output"),
    Row("GET /datastore/image?image=plain", reply=FILE),
    Row("GET /datastore/image?image=nothing", 404, "Image NOT Found"),
    Row("GET /datastore/image", 422, "query.image"),
    Row("HEAD /datastore/image?image=plain"),
    Row("HEAD /datastore/image?image=nothing", 404),
    Row("HEAD /datastore/image?image=plain&check_sum={sha256}"),
    Row("HEAD /datastore/image?image=plain&check_sum=SHA256:{sha256}"),
    Row("HEAD /datastore/image?image=plain&check_sum=MD5:{md5}"),
    Row("HEAD /datastore/image?image=plain&check_sum=SHA256:00", 404),
    Row("HEAD /datastore/image?image=plain&check_sum=CRC:00", 400),
    Row("PUT /datastore/image?image=added", reply={"image": "added"}, files=(("file", "new.nii.gz"),)),
    Row("PUT /datastore/", reply={"image": "new"}, files=(("file", "new.nii.gz"),)),
    Row("PUT /datastore/image?image=added", 422, "body.file"),
    Row("PUT /datastore/image?image=added", 400, "not JSON", {"params": "{"}, (("file", "new.nii.gz"),)),
    Row("PUT /datastore/image", 400, "text.nii.gz: ", files=(("file", "text.nii.gz"),)),
    Row("DELETE /datastore/image?id=added", reply={}),
    Row("DELETE /datastore/?id=new", reply={}),
    Row("DELETE /datastore/image?id=nothing", 404, "nothing"),
    Row("GET /datastore/image/info?image=plain", reply={"name": "plain.nii.gz", "path": str, "ts": int}),
    Row("GET /datastore/image/info?image=nothing", 404, "nothing"),
    Row("PUT /datastore/image/info?image=plain", form={"info": '{"ward": "3"}'}),
    Row("PUT /datastore/image/info?image=plain"),
    Row("GET /datastore/image/info?image=plain", reply={"name": "plain.nii.gz", "ward": "3", "user": "admin"}),
    Row("PUT /datastore/image/info?image=nothing", 404, "nothing", form={"info": "{}"}),
    Row("PUT /datastore/image/info?image=plain", 400, "info: is not JSON", form={"info": "{"}),
    Row("PUT /datastore/image/info?image=plain", 400, "info: must be a JSON object", form={"info": "[1]"}),
    Row("PUT /datastore/label?image=labelled", reply=STORED, files=(("label", "mask.nii.gz"),)),
    Row("PUT /datastore/label?image=labelled&tag=draft", reply=STORED, files=(("label", "mask.nii.gz"),)),
    Row("PUT /datastore/label?image=nothing", 404, "nothing", files=(("label", "mask.nii.gz"),)),
    Row("PUT /datastore/label?image=labelled", 400, "text.nii.gz", files=(("label", "text.nii.gz"),)),
    Row("PUT /datastore/label?image=labelled", 422, "body.label"),
    Row("PUT /datastore/label?image=labelled", 400, "not JSON", {"params": "{"}, (("label", "mask.nii.gz"),)),
    Row("GET /datastore/", reply={"label_tags": {"final": 1, "draft": 1}}),
    Row("GET /datastore/?output=train", reply=[{"image": str, "label": str}]),
    Row("GET /datastore/label?label=labelled&tag=final", reply=FILE),
    Row("GET /datastore/label?label=labelled&tag=nothing", 404, "Label"),
    Row("GET /datastore/label?label=labelled", 422, "query.tag"),
    Row("GET /datastore/label?label=nothing&tag=final", 404, "Label"),
    Row("HEAD /datastore/label?image=labelled&tag=final"),
    Row("HEAD /datastore/label?image=plain&tag=final", 404),
    Row("HEAD /datastore/label?label=labelled&tag=final", 422),
    Row("GET /datastore/label/info?label=labelled&tag=final", reply={"name": "labelled.nii.gz", "ts": int}),
    Row("GET /datastore/label/info?label=labelled&tag=nothing", 404, "nothing"),
    Row("PUT /datastore/label/info?label=labelled&tag=final"),
    Row("PUT /datastore/label/info?label=labelled&tag=final", form={"info": '{"level": "hard"}'}),
    Row("PUT /datastore/updatelabelinfo?label=labelled&tag=final", form={"params": '{"status": "approved"}'}),
    Row("GET /datastore/label/info?label=labelled&tag=final", reply={"level": "hard", "status": "approved"}),
    Row("PUT /datastore/label/info?label=labelled&tag=final", 400, "info: must be", form={"info": "[1]"}),
    Row("PUT /datastore/updatelabelinfo?label=labelled&tag=final", 400, "params: is not JSON", form={"params": "{"}),
    Row("PUT /datastore/label/info?label=nothing&tag=final", 404, "nothing", form={"info": "{}"}),
    Row("GET /datastore/dataset", reply="application/zip"),
    Row("GET /datastore/dataset?limit_cases=1", reply="application/zip"),
    Row("GET /datastore/dataset?limit_cases=few", 422, "query.limit_cases"),
    Row("DELETE /datastore/label?id=labelled&tag=draft", reply={}),
    Row("DELETE /datastore/label?id=labelled&tag=draft", 404, "draft"),
    Row("DELETE /datastore/label?id=labelled&tag=final", reply={}),
    Row("GET /datastore/", reply={"label_tags": {}}),
    Row("GET /datastore/dataset", 404, "finished"),
    # /model
    Row("GET /model/small", reply=FILE),
    Row("GET /model/info/small", reply={"checksum": str, "modified_time": int}),
    Row("GET /model/nothing", 404, "nothing"),
    Row("GET /model/info/nothing", 404, "nothing"),
    Row("PUT /model/small", 405, "versions", files=(("file", "new.nii.gz"),)),
    Row("DELETE /model/small", 405, "versions"),
    # /session
    Row(
        "PUT /session/?expiry=600", reply={"session_id": str, "session_info": SESSION}, files=(("files", "new.nii.gz"),)
    ),
    Row("PUT /session/?uncompress=true", reply={"session_id": str}, files=(("files", "series.zip"),)),
    Row("PUT /session/?uncompress=true", 400, "text.nii.gz", files=(("files", "text.nii.gz"),)),
    Row("PUT /session/", 422, "body.files"),
    Row("PUT /session/?expiry=soon", 422, "query.expiry", files=(("files", "new.nii.gz"),)),
    Row("GET /session/{session}", reply=SESSION),
    Row("GET /session/{session}?update_ts=true", reply=SESSION),
    Row("GET /session/{session}?image=true", reply=FILE),
    Row("GET /session/{series}", reply=SESSION),
    Row("GET /session/{series}?image=true", 400, "several files"),
    Row("GET /session/nothing", 404, "nothing"),
    Row("DELETE /session/{session}", reply=SESSION),
    Row("DELETE /session/{session}", 404, "Not Found"),
    # /logs
    Row("GET /logs/", reply=TEXT),
    Row("GET /logs/?text=true", reply=TEXT),
    Row("GET /logs/?lines=0", reply=TEXT),
    Row("GET /logs/?lines=-1", 422, "query.lines"),
    Row("GET /logs/?lines=few", 422, "query.lines"),
    Row("GET /logs/gpu", reply=TEXT) if which("nvidia-smi") else Row("GET /logs/gpu", 404, "no nvidia-smi"),
    # /proxy and /ohif
    Row("GET /proxy/dicom/qido/studies", 404, "folder"),
    Row("GET /proxy/dicom/studies", 404, "folder"),
    Row("POST /proxy/dicom/stow/studies", 404, "folder"),
    Row("GET /ohif/", reply=HTML),
    Row("GET /ohif/viewer", reply=HTML),
    # /auth, as long as nobody has to log in
    Row("GET /auth/", 404, "Not Found"),
    Row("POST /auth/token", 404, "Not Found", form={"username": "ada", "password": "x"}),
    Row("GET /auth/token/valid", 404, "Not Found"),
    # /reload
    Row("POST /reload", reply={}),
    Row("GET /info/", reply=INFO),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is uploaded: a scan, a mask of it, an archive, and a file that is none of these."""
    folder = tmp_path_factory.mktemp("made")
    write_scan(folder / "new.nii.gz", SHAPE, seed=1)
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([1.0, 1.0, 5.0, 1.0])), folder / "mask.nii.gz")
    (folder / "text.nii.gz").write_text("not an image")
    with ZipFile(folder / "series.zip", "w") as archive:
        archive.write(folder / "new.nii.gz", "new.nii.gz")
    return folder


@pytest.fixture(scope="module")
def server(published: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("studies")
    for seed, name in enumerate(("plain", "labelled")):
        write_scan(folder / f"{name}.nii.gz", SHAPE, seed=seed)
    (folder / "text.nii.gz").write_text("not an image")
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
