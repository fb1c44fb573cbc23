"""What the annotation page and the viewers tell the server of weak labels, and what it makes of it."""

from __future__ import annotations

import importlib.util
import io
import json
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from live import SERVE, Server, running, write_scan
from PIL import Image

from wsseg.data.phantom import make_phantom
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.table import read_volume

API = "/annotate/api"
SLICES = 8
HEADS = ("head_0", "head_1", "head_2", "head_3")
SIDEWAYS = np.array([[0, 0, 5.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])
"""Slices, 5 mm apart, along the third axis from right to left."""
OTHERWISE = np.diag([5.0, 1.0, 1.0, 1.0])
"""Slices along the first stored axis."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("annotated")
    for seed, head in enumerate(HEADS):
        scan, _ = make_phantom(seed, size=64)
        write_nifti(folder / f"{head}.nii.gz", scan.voxels, scan.affine)
    write_scan(folder / "sideways.nii.gz", (40, 44, SLICES), SIDEWAYS)
    write_scan(folder / "otherwise.nii.gz", (10, 40, 44), OTHERWISE)
    write_scan(folder / "long.nii.gz", (192, 192, 300), np.diag([1.0, 1.0, 2.0, 1.0]))
    (folder / "damaged.nii.gz").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def server(studies: Path, published: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("annotate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_LABELS", f"sqlite:///{folder / 'shared.sqlite3'}")
        with running((*SERVE, "--studies", str(studies), "--models", published), folder / "log") as server:
            yield server


class Page:
    """What the page's script does."""

    def __init__(self, server: Server, annotator: str = "Zoë") -> None:
        self.url = server.url + API
        self.annotator = annotator

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
        return requests.request(method, self.url + path, json=body, timeout=60)

    def get(self, path: str) -> Any:
        reply = self.ask("GET", path)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def mark(self, scan: str, *marks: tuple[int, int | None], label: str = "tumor") -> requests.Response:
        given = [{"slice": index, "state": state} for index, state in marks]
        body = {"label": label, "marks": given, "annotator": self.annotator}
        return self.ask("PUT", f"/scans/{scan}/presence?model=small", body)

    def presence(self, scan: str) -> list[int | None]:
        return self.get(f"/scans/{scan}?model=small")["presence"]["tumor"]


@pytest.fixture
def page(server: Server) -> Page:
    return Page(server)


def refusal(reply: requests.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    detail = reply.json()["detail"]
    assert "Traceback" not in detail
    assert "/tmp/" not in detail
    assert "\n" not in detail
    return detail


def test_page_is_served(server: Server) -> None:
    reply = requests.get(f"{server.url}/annotate", timeout=30)
    assert reply.url == f"{server.url}/annotate/"
    assert reply.headers["content-type"].startswith("text/html")
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")):
        assert requests.get(f"{server.url}/annotate/{name}", timeout=30).headers["content-type"].startswith(kind)
    assert requests.get(f"{server.url}/annotate/nothing.js", timeout=30).status_code == 404
    assert requests.get(f"{server.url}/annotate/%2e%2e/app.py", timeout=30).status_code == 404


def test_models(page: Page, published: str) -> None:
    [model] = page.get("/models")
    assert model == {
        "name": published,
        "version": "0.1",
        "method": "cdm",
        "trained": True,
        "trainable": True,
        "learns_from": ["presence"],
        "reads_text": False,
        "labels": [{"name": "tumor", "color": [220, 60, 60]}],
    }


def test_a_scan_before_and_after_it_is_labelled(page: Page, server: Server) -> None:
    before = page.get("/scans/head_0?model=small")
    assert before["slices"] == SLICES
    assert before["presence"] == {"tumor": [None] * SLICES}
    assert (before["scribbled"], before["text"]) == ({"tumor": [], "background": []}, "")
    assert before["spacing"] == pytest.approx([4, 4, 15])
    first = page.mark("head_0", (2, 1), (3, 1), (0, 0)).json()["revision"]
    told = page.ask("PUT", "/scans/head_0/text", {"text": "Masse temporale.", "annotator": "Bo"}).json()["revision"]
    assert told > first
    after = page.get("/scans/head_0?model=small")
    assert after["presence"]["tumor"] == [0, None, 1, 1, None, None, None, None]
    assert after["text"] == "Masse temporale."
    assert after["revision"] == told
    listed = {row["id"]: row for row in page.get("/scans?model=small")}
    assert set(listed) == {*HEADS, "sideways", "otherwise", "long", "damaged"}
    row = listed["head_0"]
    assert (row["slices"], row["labelled"], row["scribbles"], row["text"]) == (SLICES, 3, False, True)
    assert row["annotator"] == "Bo"
    assert row["time"].endswith("+00:00")
    assert listed["damaged"]["slices"] is None
    assert listed["damaged"]["refusal"].startswith("damaged: ")
    assert listed["long"] == {
        **{"id": "long", "title": "long", "slices": 300, "refusal": None, "labelled": 0},
        **{"scribbles": False, "drawings": 0, "text": False},
        **{"replaced": False, "study": None, "annotator": None, "time": None},
    }
    mirror = server.ask("/datastore/image/info?image=head_0").json["wsseg"]
    assert mirror == {key: after[key] for key in ("presence", "slice_axis", "text")}
    assert page.ask("PUT", "/scans/head_0/text", {"text": "", "annotator": "Bo"}).status_code == 200
    assert page.get("/scans/head_0?model=small")["text"] == ""
    assert server.ask("/datastore/image/info?image=head_0").json["wsseg"]["text"] is None


def test_undo(page: Page, server: Server) -> None:
    page.mark("head_1", (1, 0))
    wrong = page.mark("head_1", (0, 1), (1, 1)).json()["revision"]
    undone = page.ask("POST", "/undo", {"revision": wrong, "annotator": "Zoë"}).json()
    assert undone["scan"] == "head_1"
    assert undone["revision"] > wrong
    assert page.presence("head_1")[:3] == [None, 0, None]
    assert server.ask("/datastore/image/info?image=head_1").json["wsseg"]["presence"]["tumor"][:2] == [None, 0]
    Page(server, "Bo").mark("head_1", (0, 0))
    reply = page.ask("POST", "/undo", {"revision": wrong, "annotator": "Zoë"})
    assert "Bo has written over this" in refusal(reply, 400)
    assert "no write 9999" in refusal(page.ask("POST", "/undo", {"revision": 9999, "annotator": "Zoë"}), 404)


def test_many_annotators_at_once_lose_nothing(page: Page, server: Server) -> None:
    def label(index: int) -> int:
        return Page(server, f"annotator {index}").mark("sideways", (index % SLICES, index % 2)).json()["revision"]

    with ThreadPoolExecutor(8) as pool:
        revisions = list(pool.map(label, range(4 * SLICES)))
    assert len(set(revisions)) == len(revisions)
    assert page.presence("sideways") == [index % 2 for index in range(SLICES)]
    info = server.ask("/datastore/image/info?image=sideways").json
    assert info["wsseg"]["presence"]["tumor"] == [index % 2 for index in range(SLICES)]


def test_sprite_shows_every_slice_upright(page: Page, studies: Path) -> None:
    layout = page.get("/scans/head_2?model=small")["sprite"]
    assert layout == {"columns": 3, "width": 128, "height": 128}
    reply = page.ask("GET", "/scans/head_2/sprite")
    assert reply.headers["content-type"] == "image/jpeg"
    sheet = np.asarray(Image.open(io.BytesIO(reply.content)).convert("F"))
    assert sheet.shape == (3 * 128, 3 * 128)
    scan = read_volume(studies / "head_2.nii.gz")
    for index in range(SLICES):
        tile = sheet[index // 3 * 128 :, index % 3 * 128 :][:128, :128]
        # Stored to the left and to the back: a picture's right and down.
        plane = np.asarray(Image.fromarray(scan.voxels[:, :, index].T).resize((128, 128), Image.Resampling.BILINEAR))
        assert np.corrcoef(tile.ravel(), plane.ravel())[0, 1] > 0.97
    again = requests.get(reply.url, headers={"if-none-match": reply.headers["etag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")


def test_three_hundred_slices_are_quick(page: Page) -> None:
    reply = page.ask("GET", "/scans/long/sprite")
    assert reply.elapsed.total_seconds() < 2
    layout = page.get("/scans/long?model=small")["sprite"]
    size = Image.open(io.BytesIO(reply.content)).size
    assert size == (layout["columns"] * layout["width"], -(-300 // layout["columns"]) * layout["height"])


def test_prediction_and_its_overlay(page: Page, published: str) -> None:
    path = "/scans/sideways/overlay?model=small&version=0.1"
    assert "no prediction" in refusal(page.ask("GET", path), 404)
    said = page.ask("POST", "/scans/sideways/prediction?model=small").json()
    assert said["version"] == "0.1"
    assert len(said["presence"]["tumor"]) == SLICES
    assert said["predicted_dice"] == {}
    assert set(said["look_at"]) <= set(range(SLICES))
    picture = Image.open(io.BytesIO(page.ask("GET", path).content))
    scan = Image.open(io.BytesIO(page.ask("GET", "/scans/sideways/sprite").content))
    assert picture.size == scan.size
    assert picture.mode == "RGBA"
    pixels = np.asarray(picture)
    assert (pixels[..., 3] > 0).any()
    assert pixels[..., :3][pixels[..., 3] > 100].tolist()[0] == pytest.approx([220, 60, 60], abs=1)


def test_slices_that_are_stored_first_are_marked_like_any(page: Page) -> None:
    scan = page.get("/scans/otherwise?model=small")
    assert (scan["slices"], scan["slice_axis"]) == (10, 0)
    said = page.ask("POST", "/scans/otherwise/prediction?model=small").json()
    assert len(said["presence"]["tumor"]) == 10
    revision = page.mark("otherwise", (9, 1)).json()["revision"]
    assert page.get("/scans/otherwise?model=small")["presence"]["tumor"] == [*[None] * 9, 1]
    assert "otherwise, slice 10: the scan has slices 0 to 9" in refusal(page.mark("otherwise", (10, 1)), 400)
    page.ask("POST", "/undo", {"revision": revision, "annotator": "me"})


@pytest.mark.parametrize(
    ("scan", "label", "marks", "status", "part"),
    [
        ("nothing", "tumor", [{"slice": 0, "state": 1}], 404, 'scan "nothing" is unknown'),
        ("%2e%2e", "tumor", [{"slice": 0, "state": 1}], 404, "no such path"),
        ("damaged", "tumor", [{"slice": 0, "state": 1}], 400, "damaged: "),
        ("head_3", "edema", [{"slice": 0, "state": 1}], 400, '"edema" is unknown'),
        ("head_3", "tumor", [{"slice": SLICES, "state": 1}], 400, "slices 0 to 7"),
        ("head_3", "tumor", [{"slice": -1, "state": 1}], 400, "slices 0 to 7"),
        ("head_3", "tumor", [{"slice": 0, "state": 1}, {"slice": 0, "state": 0}], 400, "given twice"),
        ("head_3", "tumor", [], 400, "no label is given"),
        ("head_3", "tumor", [{"slice": 0, "state": 2}], 422, "state"),
        ("head_3", "tumor", [{"slice": 0, "state": True}], 422, "state"),
        ("head_3", "tumor", [{"slice": "0", "state": 1}], 422, "slice"),
        ("head_3", "tumor", [{"slice": 0}], 422, "state"),
        ("head_3", "tumor", "all", 422, "marks"),
    ],
)
def test_wrong_marks(page: Page, scan: str, label: str, marks: Any, status: int, part: str) -> None:
    body = {"label": label, "marks": marks, "annotator": "Zoë"}
    assert part in refusal(page.ask("PUT", f"/scans/{scan}/presence?model=small", body), status)
    assert page.presence("head_3") == [None] * SLICES


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "part"),
    [
        ("PUT", "/scans/head_3/presence?model=nothing", {"label": "t", "marks": [], "annotator": "Z"}, 404, "nothing"),
        ("PUT", "/scans/head_3/presence?model=..%2Fsmall", {"label": "t", "marks": [], "annotator": "Z"}, 404, "small"),
        ("PUT", "/scans/head_3/text", {"text": "x" * 2001, "annotator": "Z"}, 400, "2001 characters"),
        ("PUT", "/scans/head_3/text", {"text": "one", "annotator": " "}, 400, "annotator is empty"),
        ("PUT", "/scans/head_3/text", {"text": 1, "annotator": "Z"}, 422, "text"),
        ("PUT", "/scans/nothing/text", {"text": "one", "annotator": "Z"}, 404, "nothing"),
        (
            "POST",
            "/scans/head_3/erase?model=small",
            {"slice": 0, "annotator": "Z"},
            400,
            "slice 0: nothing is drawn",
        ),
        ("POST", "/scans/head_3/erase?model=nothing", {"slice": 0, "annotator": "Z"}, 404, "nothing"),
        ("POST", "/scans/nothing/erase?model=small", {"slice": 0, "annotator": "Z"}, 404, "nothing"),
        ("POST", "/scans/head_3/erase?model=small", {"slice": "0", "annotator": "Z"}, 422, "slice"),
        ("GET", "/scans?model=nothing", None, 404, "nothing"),
        ("GET", "/scans/nothing?model=small", None, 404, "nothing"),
        ("GET", "/scans/damaged?model=small", None, 400, "damaged: "),
        ("GET", "/scans/damaged/sprite", None, 400, "damaged: "),
        ("GET", "/scans/nothing/sprite", None, 404, "nothing"),
        ("POST", "/scans/damaged/prediction?model=small", None, 400, "damaged: "),
        ("POST", "/next", {"strategy": "nothing", "model": "small"}, 404, "nothing"),
        ("POST", "/next", {"strategy": "random", "model": "nothing"}, 404, "nothing"),
        ("POST", "/train", {"model": "nothing"}, 404, "nothing"),
        ("GET", "/models/nothing/versions", None, 404, "nothing"),
        ("POST", "/models/small/versions/9/publish", None, 404, "no version 9"),
    ],
)
def test_wrong_requests(page: Page, method: str, path: str, body: Any, status: int, part: str) -> None:
    assert part in refusal(page.ask(method, path, body), status)


def test_malformed_json(server: Server) -> None:
    url, form = f"{server.url}{API}/scans/head_3/text", {"content-type": "application/json"}
    for body, headers in (('{"text": ', form), ("[1]", form), ('{"text": "one", "annotator": "Z"}', {})):
        assert refusal(requests.put(url, data=body, headers=headers, timeout=30), 422)
    assert requests.get(f"{server.url}{API}/scans/head_3?model=small", timeout=30).json()["text"] == ""


def test_next_case_and_versions(page: Page) -> None:
    names = [row["name"] for row in page.get("/strategies")]
    assert {"random", "first"} <= set(names)
    assert all(row["description"] for row in page.get("/strategies"))
    chosen = page.ask("POST", "/next", {"strategy": "random", "model": "small"}).json()
    assert chosen["id"] in {row["id"] for row in page.get("/scans?model=small")}
    [version] = page.get("/models/small/versions")
    assert (version["version"], version["current"]) == ("0.1", True)
    assert page.ask("POST", "/models/small/versions/0.1/publish").json() == [version]


def test_training_is_seen_and_stopped(page: Page) -> None:
    assert page.get("/train")["phase"] == "idle"
    assert page.ask("DELETE", "/train").json()["phase"] == "idle"
    reply = page.ask("POST", "/train/finish")
    assert (reply.status_code, reply.json()["detail"][:33]) == (409, "there is nothing to publish yet: ")


# From the viewers


@pytest.fixture(scope="module")
def slicer() -> ModuleType:
    """The client that 3D Slicer's MONAI Label module ships."""
    file = Path(sys.prefix) / "monailabel/plugins/slicer/MONAILabel/MONAILabelLib/client.py"
    spec = importlib.util.spec_from_file_location("slicer_client", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SEGMENTS = [
    {"name": "tumor", "id": 1},
    {"name": "background_scribbles", "id": 2},
    {"name": "foreground_scribbles", "id": 3},
]


def draw(studies: Path, file: Path, scan: str, *voxels: tuple[int, int, int, int]) -> str:
    """A mask as Slicer exports it, on the grid of a scan."""
    image = nib.load(studies / f"{scan}.nii.gz")
    drawn = np.zeros(image.shape, np.int16)
    for x, y, index, value in voxels:
        drawn[x, y, index] = value
    nib.save(nib.Nifti1Image(drawn, image.affine), file)
    return str(file)


def test_scribbles_from_slicer(server: Server, page: Page, slicer: ModuleType, studies: Path, tmp_path: Path) -> None:
    """The calls of its scribbles panel: all segments as one mask, stored and merged over runs."""
    client = slicer.MONAILabelClient(server.url, str(tmp_path), "user-zoe")
    model = client.info()["models"]["scribbles"]
    assert model["type"] == "scribbles"
    params = {key: value[0] if isinstance(value, list) else value for key, value in model["config"].items()}
    params |= {"roi": [], "label_info": SEGMENTS, "selected_label_name": "tumor"}
    params |= {"result_extension": ".nrrd", "result_dtype": "uint8"}
    first = draw(studies, tmp_path / "one.nii.gz", "head_2", (9, 9, 1, 1), (20, 20, 2, 3), (5, 5, 2, 2))
    second = draw(studies, tmp_path / "two.nii.gz", "head_2", (30, 30, 4, 3), (5, 5, 2, 3))
    client.infer("scribbles", "head_2", params, first)
    file, result = client.infer("scribbles", "head_2", params, second)
    assert result["label_names"] == {"tumor": 1}
    mask = read_volume(Path(file))
    assert mask.voxels.shape == nib.load(studies / "head_2.nii.gz").shape
    assert mask.voxels[20, 20, 2] == mask.voxels[30, 30, 4] == mask.voxels[5, 5, 2] == 1
    assert page.get("/scans/head_2?model=small")["scribbled"] == {"tumor": [2, 4], "background": []}
    [row] = [row for row in page.get("/scans?model=small") if row["id"] == "head_2"]
    assert (row["scribbles"], row["annotator"]) == (True, "user-zoe")
    background = draw(studies, tmp_path / "three.nii.gz", "head_2", (30, 30, 4, 2))
    file, _ = client.infer("scribbles", "head_2", params, background)
    assert read_volume(Path(file)).voxels[30, 30, 4] == 0
    assert page.get("/scans/head_2?model=small")["scribbled"] == {"tumor": [2], "background": [4]}
    # Erased on the page.
    erased = page.ask("POST", "/scans/head_2/erase?model=small", {"slice": 4, "annotator": "Zoë"})
    assert erased.status_code == 200
    assert page.get("/scans/head_2?model=small")["scribbled"] == {"tumor": [2], "background": []}
    page.ask("POST", "/undo", {"revision": erased.json()["revision"], "annotator": "Zoë"})
    assert page.get("/scans/head_2?model=small")["scribbled"] == {"tumor": [2], "background": [4]}


@pytest.mark.parametrize(
    ("changed", "drawn", "part"),
    [
        ({}, (), "the scribbles are empty"),
        ({}, ((0, 0, 0, 1),), "the scribbles are empty"),
        ({}, None, "the strokes are missing"),
        ({"selected_label_name": "brain"}, ((0, 0, 0, 3),), '"brain" is no class of the model'),
        ({"label_info": [{"name": "tumor", "id": 1}]}, ((0, 0, 0, 3),), "names neither"),
        ({"label_info": "all"}, ((0, 0, 0, 3),), "label_info: must be a list"),
        ({"segment_with": "nothing"}, ((0, 0, 0, 3),), '"nothing" is unknown'),
        ({"result_extension": ".dcm"}, ((0, 0, 0, 3),), "is no DICOM SEG"),
        ({"label": "/etc/passwd"}, None, "the strokes are missing"),
    ],
)
def test_wrong_scribbles(
    server: Server, studies: Path, tmp_path: Path, changed: dict[str, Any], drawn: Any, part: str
) -> None:
    params = {"label_info": SEGMENTS, "selected_label_name": "tumor", **changed}
    files = None
    if drawn is not None:
        strokes = Path(draw(studies, tmp_path / "s.nii.gz", "head_3", *drawn)).read_bytes()
        files = {"label": ("/tmp/x/strokes.nii.gz", strokes)}
    url = f"{server.url}/infer/scribbles?image=head_3"
    reply = requests.post(url, data={"params": json.dumps(params)}, files=files, timeout=60)
    assert part in refusal(reply, 400)


def test_scribbles_on_another_grid_or_no_scan_of_the_studies(server: Server, studies: Path, tmp_path: Path) -> None:
    params = {"params": json.dumps({"label_info": SEGMENTS, "selected_label_name": "tumor"})}
    strokes = Path(draw(studies, tmp_path / "s.nii.gz", "sideways", (0, 0, 0, 3))).read_bytes()
    url = f"{server.url}/infer/scribbles"
    reply = requests.post(f"{url}?image=head_3", data=params, files={"label": ("s.nii.gz", strokes)}, timeout=60)
    assert refusal(reply, 400) == "s.nii.gz: is on another grid than head_3, 40 x 44 x 8 voxels for 64 x 64 x 8"
    files = {"label": ("s.nii.gz", strokes), "file": ("mine.nii.gz", (studies / "sideways.nii.gz").read_bytes())}
    assert "images of the studies" in refusal(requests.post(url, data=params, files=files, timeout=60), 400)


def test_finished_mask(server: Server, page: Page, slicer: ModuleType, studies: Path, tmp_path: Path) -> None:
    """Present where a class is drawn, by name; unknown elsewhere, and absent where it was said."""
    page.mark("head_3", (0, 0), (1, 1))
    client = slicer.MONAILabelClient(server.url, str(tmp_path), "user-bo")
    mask = draw(studies, tmp_path / "m.nii.gz", "head_3", (9, 9, 2, 2), (9, 9, 5, 2), (3, 3, 6, 1))
    info = {"label_info": [{"name": "ventricle", "idx": 2}, {"name": "tumor", "idx": 4}]}
    other = draw(studies, tmp_path / "o.nii.gz", "sideways", (9, 9, 2, 2))
    with pytest.raises(slicer.MONAILabelClientException, match="another grid"):
        client.save_label("head_3", other, "", info)
    assert server.ask("/datastore/").json["completed"] == 0
    assert client.save_label("head_3", mask, "", info) == {"image": "head_3", "label": "head_3"}
    assert page.presence("head_3") == [0, None, 1, None, None, 1, None, None]
    assert server.ask("/datastore/").json["completed"] == 1
    before = page.get("/scans/head_3?model=small")["revision"]
    client.save_label("head_3", mask, "draft", info)
    client.save_label("head_3", mask, "final", info)
    assert page.get("/scans/head_3?model=small")["revision"] == before
    for wrong in ({"label_info": "tumor"}, {"label_info": [{"idx": 1}]}, {"label_info": [{"name": "t", "idx": "one"}]}):
        with pytest.raises(slicer.MONAILabelClientException, match="label_info"):
            client.save_label("head_3", mask, "", wrong)


def test_option_rows_are_labels_only_where_ticked(server: Server, page: Page, published: str) -> None:
    config = server.ask("/info/").json["models"][published]["config"]
    assert {key: config[key] for key in ("presence", "text", "save_as_label")} == {
        **{"presence": "", "text": "", "save_as_label": False}
    }
    before = page.get("/scans/head_1?model=small")
    row = "tumor: 3-4, 6; no tumor: 7"
    query = "image=head_1&output=json"
    said = server.infer(published, query, presence=row, text="A mass.", save_as_label=False).json
    assert [said["presence"]["tumor"][index] for index in (3, 4, 6, 7)] == [1, 1, 1, 0]
    assert server.infer(published, query, presence=" ", text="", save_as_label=True).status == 200
    assert page.get("/scans/head_1?model=small") == before
    assert (
        server.infer(published, query, presence=row, text="A mass.", save_as_label=True, client_id="bo").status == 200
    )
    after = page.get("/scans/head_1?model=small")
    assert after["presence"]["tumor"] == [*before["presence"]["tumor"][:3], 1, 1, None, 1, 0]
    assert after["text"] == "A mass."
    assert server.infer(published, query, presence=[None] * 5 + [0, None, None], save_as_label="true").status == 200
    assert page.presence("head_1")[5:] == [0, 1, 0]


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ("yes", "presence: must be like"),
        ("3-9", "presence: must be like"),
        ("brain: 3", 'label "brain" is unknown'),
        ("no brain: 3", 'label "brain" is unknown'),
        ("tumor:", 'presence: tumor: "" is no slice'),
        ("tumor: 3-", '"3-" is no slice'),
        ("tumor: 3,,4", '"" is no slice'),
        ("tumor: -1", '"-1" is no slice'),
        ("tumor: 5-3", "ends before it begins"),
        ("tumor: 3-8", "slice 8 is given, the scan has slices 0 to 7"),
        ("tumor: 3; no tumor: 2-4", "slice 3 is given twice"),
        ("tumor: 3;", "presence: must be like"),
    ],
)
def test_wrong_rows(server: Server, published: str, row: str, part: str) -> None:
    assert part in server.infer(published, "image=head_1", presence=row).detail


def test_rows_of_an_upload_cannot_be_kept(server: Server, published: str, studies: Path) -> None:
    params = {"params": json.dumps({"presence": "tumor: all", "save_as_label": True})}
    reply = server.ask(f"/infer/{published}", "POST", params, studies / "head_1.nii.gz")
    assert reply.status == 400
    assert "save_as_label: labels can be kept for images of the studies" in reply.detail


def test_a_database_that_fails_is_said(page: Page, server: Server) -> None:
    """The last test: the labels are gone after it."""
    with sqlite3.connect(server.log.parent / "shared.sqlite3") as connection:
        connection.execute("DROP TABLE labels")
    reply = page.ask("PUT", "/scans/head_0/text", {"text": "one", "annotator": "Z"})
    assert "no such table" in refusal(reply, 503)


def test_pages_of_other_sites_change_nothing(server: Server, page: Page) -> None:
    """A form on any page can post without the browser asking first; it says where it comes from."""
    foreign = {"Sec-Fetch-Site": "cross-site"}
    for method, path in (
        ("POST", "/train/small"),
        ("DELETE", "/train/"),
        ("POST", f"{API}/models/small/versions/0.1/publish"),
    ):
        reply = requests.request(method, server.url + path, headers=foreign, timeout=60)
        assert (reply.status_code, reply.json()["detail"]) == (403, "another web page may not change anything here")
    assert requests.get(server.url + "/info/", headers=foreign, timeout=60).ok, "though the database is down by now"
    own = requests.delete(server.url + "/train/", headers={"Sec-Fetch-Site": "same-origin"}, timeout=60)
    assert own.status_code == 200
