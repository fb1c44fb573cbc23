"""Drawings by REST: kept for everybody, whoever draws and whatever is killed, and given to training."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import requests
from live import SERVE, Server, running, write_scan

from conftest import small_package
from wsseg.files import home
from wsseg.models.shelf import publish

MODEL = "drawn"
LABELS = ("tumor", "edema")
SHAPE = (40, 44, 6)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("drawing")
    studies = folder / "studies"
    studies.mkdir()
    for name in ("one", "two"):
        write_scan(studies / f"{name}.nii.gz", SHAPE)
    small_package(home() / "models" / MODEL / "0.1", "union", LABELS)
    publish(home() / "models", MODEL, "0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_LABELS", f"sqlite:///{folder / 'labels.sqlite3'}")
        with running((*SERVE, "--studies", str(studies), "--models", MODEL), folder / "log") as server:
            yield server


def ask(server: Server, method: str, path: str, body: dict[str, Any] | None = None) -> requests.Response:
    return requests.request(method, f"{server.url}/annotate/api{path}", json=body, timeout=120)


def stroke(slice: int = 2, **more: object) -> dict[str, Any]:
    points = [[10.0, 10.0], [14.5, 12.0]]
    return {"id": str(uuid4()), "tool": "stroke", "label": "tumor", "slice": slice, "points": points, **more}


def draw(server: Server, scan: str, *drawings: dict[str, Any], who: str = "Ada", **more: object) -> requests.Response:
    return ask(
        server,
        "POST",
        f"/scans/{scan}/drawings?model={MODEL}",
        {"drawings": list(drawings), "annotator": who, **more},
    )


def drawn(server: Server, scan: str, since: int = 0) -> dict[str, Any]:
    reply = ask(server, "GET", f"/scans/{scan}/drawings?model={MODEL}&since={since}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_draw_see_undo_and_erase(server: Server) -> None:
    one, box = stroke(), {**stroke(3), "tool": "box", "label": "edema"}
    first = draw(server, "one", one, box).json()["revision"]
    assert draw(server, "one", one, box).json()["revision"] == first
    found = drawn(server, "one")
    assert [each["id"] for each in found["drawings"]] == [one["id"], box["id"]]
    assert {key: found["drawings"][0][key] for key in one} == one
    assert (found["drawings"][0]["annotator"], found["drawings"][0]["revision"]) == ("Ada", first)
    assert found["drawings"][0]["time"].endswith("+00:00")
    assert drawn(server, "one", found["revision"]) == {"revision": found["revision"], "drawings": None}

    moved = {**box, "id": str(uuid4()), "points": [[1, 1], [8, 9]]}
    change = draw(server, "one", moved, removed=[box["id"]]).json()["revision"]
    assert [each["id"] for each in drawn(server, "one")["drawings"]] == [one["id"], moved["id"]]
    assert ask(server, "POST", "/undo", {"revision": change, "annotator": "Ada"}).status_code == 200
    assert {each["id"] for each in drawn(server, "one")["drawings"]} == {one["id"], box["id"]}
    row = next(each for each in ask(server, "GET", f"/scans?model={MODEL}").json() if each["id"] == "one")
    assert row["drawings"] == 2

    erased = ask(server, "POST", f"/scans/one/erase?model={MODEL}", {"slice": 2, "annotator": "Bo"})
    assert erased.status_code == 200
    assert [each["id"] for each in drawn(server, "one")["drawings"]] == [box["id"]]


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        ({"slice": 6}, 400, "one, slice 6, stroke: the scan has slices 0 to 5"),
        ({"label": "liver"}, 400, 'label "liver" is unknown, known are: tumor, edema, background'),
        ({"points": [[41.0, 3.0]]}, 400, "lies outside the slice, which has 40 x 44 voxels"),
        ({"tool": "point"}, 400, "has 2 points, 1 are needed"),
        ({"tool": "spray"}, 422, "tool"),
        ({"id": "../../x"}, 422, "id"),
        ({"radius_mm": -1}, 422, "radius_mm"),
        ({"points": []}, 422, "points"),
    ],
)
def test_refusals(server: Server, change: dict[str, Any], status: int, sentence: str) -> None:
    reply = draw(server, "one", stroke() | change)
    assert reply.status_code == status, reply.text
    assert sentence in reply.json()["detail"]
    assert draw(server, "nothing", stroke()).status_code == 404


def test_two_annotators_at_once_see_what_both_drew(server: Server) -> None:
    given = [(who, stroke(index % 6)) for index in range(20) for who in ("Ada", "Bo")]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda each: draw(server, "two", each[1], who=each[0]), given))
    assert {reply.status_code for reply in replies} == {200}
    found = {each["id"]: each["annotator"] for each in drawn(server, "two")["drawings"]}
    assert found == {each["id"]: who for who, each in given}
