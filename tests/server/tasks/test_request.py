"""What clients send to the infer tasks: read once, refused in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from wsseg.errors import WssegError
from wsseg.labels.space import LabelSpace
from wsseg.server.compute import devices
from wsseg.server.tasks.request import InferRequest
from wsseg.server.viewers.slicer import StrokeValues

ONE, TWO = LabelSpace(("tumor",)), LabelSpace(("tumor", "no flow"))

SLICES = 5

PANEL = {
    "label": "/tmp/drawn.nrrd",
    "selected_label_name": "tumor",
    "label_info": [{"name": "tumor", "id": 1}, {"name": "foreground_scribbles", "id": 3}],
}


def parse(**fields: Any) -> InferRequest:
    return InferRequest.parse({"model": "small", "image": "a", **fields})


def states(given: Any, labels: LabelSpace = ONE) -> list[list[int]]:
    presence = parse(presence=given).presence
    assert presence is not None
    found = presence.of(labels, SLICES)
    assert (found.shape, found.dtype) == ((len(labels), SLICES), np.int8)
    rows: list[list[int]] = found.tolist()
    return rows


def test_what_nobody_said() -> None:
    """An empty option row, null and no row are the same."""
    asked = parse()
    assert (asked.presence, asked.text, asked.strokes, asked.device) == (None, "", None, devices()[0])
    assert (asked.extension, asked.compress, asked.label_tag, asked.annotator) == (
        *(".nii.gz", True),
        *("original", "admin"),
    )
    assert (asked.save_label, asked.save_as_label, asked.uncertainty) == (False, False, False)
    assert parse(presence=" ", text="", device=None, label="", client_id="", save_label="", label_tag=None) == asked
    assert parse(device=[], result_dtype="uint8", roi=[], multi_gpu=True, gpus="all") == asked, "viewers' own rows"


def test_a_request_is_never_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse().image = "/etc/passwd"  # type: ignore[misc]


def test_words_of_viewers() -> None:
    asked = parse(device=["cpu", "cuda"], result_extension="NRRD", result_compress=False, client_id="zoe", text=" A. ")
    assert (asked.device, asked.extension, asked.compress, asked.annotator, asked.text) == (
        *("cpu", ".nrrd", False),
        *("zoe", "A."),
    )
    assert parse(annotator="bo", client_id="zoe").annotator == "bo"
    ticked = parse(save_label="true", save_as_label=True, uncertainty="true")
    assert (ticked.save_label, ticked.save_as_label, ticked.uncertainty) == (True, True, True)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("tumor: 1-2, 4; no tumor: 0", [[0, 1, 1, -1, 1]]),
        ("no tumor: all", [[0] * SLICES]),
        ([1, 0, None, 1.0, 0], [[1, 0, -1, 1, 0]]),
        ({"tumor": [None, 1, 1, 0, 0]}, [[-1, 1, 1, 0, 0]]),
        ({}, [[-1] * SLICES]),
    ],
)
def test_presence(given: Any, expected: list[list[int]]) -> None:
    assert states(given) == expected


def test_presence_of_several_classes() -> None:
    """A class may be called "no ..." too."""
    assert states({"no flow": [1, 0, 1, 0, None]}, TWO) == [[-1] * SLICES, [1, 0, 1, 0, -1]]
    assert states("no flow: 3; tumor: 0; no no flow: 0", TWO) == [[1, -1, -1, -1, -1], [0, -1, -1, 1, -1]]
    with pytest.raises(WssegError, match=r"must be a list of 1, 0 or null for each of: tumor, no flow"):
        states([1] * SLICES, TWO)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("yes", "presence: must be like"),
        ("tumor: 5", "slice 5 is given, the scan has slices 0 to 4"),
        ("tumor: 3-1", "ends before it begins"),
        ("tumor: 1; no tumor: 0-2", "slice 1 is given twice"),
        ("brain: 1", '"brain" is unknown'),
        ([1, 0], "tumor is given for 2 slices, the scan has 5"),
        ([], "tumor is given for 0 slices"),
        ({"brain": [1] * SLICES}, '"brain" is unknown'),
    ],
)
def test_presence_that_fits_no_scan(given: Any, part: str) -> None:
    with pytest.raises(WssegError) as refused:
        states(given)
    assert part in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("presence", 1, "presence: must be a text, a list"),
        ("presence", {"tumor": 1}, "presence: tumor must be a list of 1, 0 or null, not 1"),
        ("presence", {"tumor": [2]}, "presence: tumor must be 1, 0 or null on every slice, not 2"),
        ("presence", [[1]], "presence: every entry must be 1, 0 or null on every slice, not [1]"),
        ("presence", ["1"], "must be 1, 0 or null on every slice"),
        ("device", "cuda:99", 'device "cuda:99" is not there, use one of: '),
        ("device", {"a": 1}, "is not there"),
        ("device", ["gpu"], 'device "gpu" is not there'),
        ("result_extension", ".jpg", 'result_extension ".jpg" is unknown, use one of: '),
        ("text", 5, "text: must be a sentence, not '5'"),
        ("text", "a" * 2001, "text: has 2001 characters, 2000 are possible"),
        ("label_tag", "../out", 'label_tag "../out": must be the name of a folder, not a path'),
        ("save_label", "perhaps", "save_label: "),
        ("save_as_label", [], "save_as_label: "),
        ("uncertainty", 7, "uncertainty: "),
        ("result_compress", "loud", "result_compress: "),
        ("image", {"a": 1}, "image: "),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any, part: str) -> None:
    with pytest.raises(WssegError) as refused:
        parse(**{field: value})
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_strokes() -> None:
    asked = parse(**PANEL, segment_with=["small", "other"])
    strokes = asked.strokes
    assert strokes is not None
    assert (strokes.file, strokes.selected, asked.segment_with) == (Path("/tmp/drawn.nrrd"), "tumor", "small")
    assert strokes.values == StrokeValues(foreground=3, background=None)
    assert parse(**{**PANEL, "label": ""}).strokes is None
    assert parse(strokes={"label": "/etc/passwd"}).strokes is None


@pytest.mark.parametrize(
    ("info", "part"),
    [
        (None, "label_info: must be a list like"),
        ("all", "label_info: must be a list like"),
        ([{"name": "foreground_scribbles", "id": True}], "label_info: must be a list like"),
        ([{"name": 3, "id": 3}], "label_info: must be a list like"),
        ([], "label_info: names neither foreground_scribbles nor background_scribbles"),
        ([{"name": "tumor", "id": 1}], "label_info: names neither"),
    ],
)
def test_segments_that_are_no_strokes(info: Any, part: str) -> None:
    with pytest.raises(WssegError) as refused:
        parse(**{**PANEL, "label_info": info})
    assert part in str(refused.value)
