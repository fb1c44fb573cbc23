"""MONAI Label's REST API in a table: what its clients may ask, and what they get."""

from __future__ import annotations

from dataclasses import dataclass, field
from shutil import which
from typing import Any

JSON = "application/json"
HTML = "text/html"
TEXT = "text/plain"
FILE = "application/octet-stream"
SHAPE = (20, 24, 6)
DEEP = "[" * 100_000


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
    files: tuple[tuple[str, str], ...] = ()
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
