"""What viewers tell the server of weak labels: strokes and masks of 3D Slicer, rows of options."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from annotation import Page, labelling_server, page_of, refusal, studies_to_label
from live import Server
from slicer import slicer_client

from wsseg.images.formats.table import read_volume

__all__ = ["labelling_server", "page_of", "studies_to_label"]  # fixtures


@pytest.fixture(scope="module")
def slicer() -> ModuleType:
    return slicer_client()


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
