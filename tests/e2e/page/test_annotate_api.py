"""What the annotation page tells the server of weak labels, and what it makes of it."""

from __future__ import annotations

import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from annotation import API, HEADS, SLICES, Page, labelling_server, page_of, refusal, studies_to_label
from live import Server
from PIL import Image

from wsseg.images.formats.table import read_volume

__all__ = ["labelling_server", "page_of", "studies_to_label"]  # fixtures


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
        "marks_slices": True,
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
