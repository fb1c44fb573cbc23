from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsseg.data.kinds.base import LabelKind
from wsseg.data.kinds.coverage import presence_of_marks
from wsseg.data.kinds.registry import BOXES, POINTS, SCRIBBLES, kinds_named
from wsseg.data.kinds.unmatched import unmatched
from wsseg.data.preprocess import View
from wsseg.data.slices import LabelledSlices, load_slices
from wsseg.errors import WssegError
from wsseg.images.formats.nifti import write_nifti
from wsseg.labels.space import LabelSpace

ORGANS = LabelSpace(("liver", "spleen"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A scan of 32 x 32 x 6 voxels, all tissue, with a liver on slices 2 and 3 and a spleen on slice 3."""
    scan = np.random.default_rng(0).integers(80, 120, (32, 32, 6)).astype(np.int16)
    write_nifti(tmp_path / "a.nii.gz", scan, np.diag([2.0, 2.0, 5.0, 1.0]))
    (tmp_path / "boxes.csv").write_text(
        "case,slice,label,first_row,first_column,last_row,last_column\n"
        "a,2,liver,4,6,13,21\na,3,liver,5,6,13,20\na,3,spleen,20,4,27,9\n",
        encoding="utf-8",
    )
    (tmp_path / "points.csv").write_text(
        "case,slice,label,row,column\na,2,liver,8,12\na,3,liver,9,12\na,3,spleen,24,6\n", encoding="utf-8"
    )
    return tmp_path


def _load(folder: Path, *kinds: LabelKind[Any]) -> LabelledSlices:
    return load_slices(folder, ORGANS, View(32, pixel_mm=2.0), kinds)


def test_boxes_lie_where_they_were_drawn(folder: Path) -> None:
    targets = _load(folder, BOXES).targets
    inside = targets.boxes[2, 0] > 0
    assert torch.nonzero(inside).aminmax(dim=0).min.tolist() == [4, 6]
    assert torch.nonzero(inside).aminmax(dim=0).max.tolist() == [13, 21]
    assert int(targets.boxes[2, 0, 4, 6]) == 16 + 1, "the corner lies in the first band of rows and of columns"
    assert int(targets.boxes[2, 0, 13, 21]) == 255
    assert targets.presence.tolist() == [[0, 0], [0, 0], [1, 0], [1, 1], [0, 0], [0, 0]]
    assert (targets.pixels[2][~inside] == 255).all(), "outside of all boxes is background"
    assert not (targets.pixels[2][inside]).any()


def test_points_are_discs_with_background_far_away(folder: Path) -> None:
    targets = _load(folder, POINTS).targets
    assert targets.pixels[2, 8, 12] == 1
    assert targets.pixels[3, 24, 6] == 2
    assert targets.pixels[2, 31, 31] == 255
    assert targets.pixels[2, 8, 14] == 0, "near, and not known"


def test_points_tell_about_how_large_a_class_is(folder: Path) -> None:
    """From how many slices it takes; not beside strokes, which tell it better."""
    told = _load(folder, POINTS).targets.about
    liver, spleen = math.pi * 0.75 * (0.6 * 5.0) ** 2, math.pi * (0.6 * 2.5) ** 2
    assert told[2:4].flatten().tolist() == pytest.approx([liver / 4, 0, liver / 4, spleen / 4])
    assert not told[[0, 1, 4, 5]].any()
    strokes = np.zeros((32, 32, 6), np.uint8)
    strokes[6:11, 12, 2] = 1
    write_nifti(folder / "a_scribble.nii.gz", strokes, np.diag([2.0, 2.0, 5.0, 1.0]))
    beside = _load(folder, POINTS, SCRIBBLES).targets.about
    assert not beside[:, 0].any()
    assert torch.equal(beside[:, 1], told[:, 1])


def test_points_alone_take_no_memory_for_boxes(folder: Path) -> None:
    """Nor do they beside strokes of another class."""
    assert _load(folder, POINTS).targets.boxes.untyped_storage().nbytes() == 1
    strokes = np.zeros((32, 32, 6), np.uint8)
    strokes[6:11, 12, 2], strokes[1, :, 2] = 1, 255
    write_nifti(folder / "a_scribble.nii.gz", strokes, np.diag([2.0, 2.0, 5.0, 1.0]))
    assert _load(folder, POINTS, SCRIBBLES).targets.boxes.untyped_storage().nbytes() == 1


def test_kinds_are_read_together(folder: Path) -> None:
    targets = _load(folder, BOXES, POINTS).targets
    assert targets.pixels[2, 8, 12] == 1, "a point says more of a pixel than a box"
    assert targets.boxes.any()


@pytest.mark.parametrize(
    ("line", "words"),
    [("a,9,liver,1,1,2,2", "has 6 slices"), ("a,2,lung,1,1,2,2", "unknown"), ("a,2,liver,5,1,2,2", "ends before")],
)
def test_boxes_that_mean_nothing_are_refused(folder: Path, line: str, words: str) -> None:
    with (folder / "boxes.csv").open("a", encoding="utf-8") as table:
        table.write(line + "\n")
    with pytest.raises(WssegError, match=words):
        _load(folder, BOXES)


def test_of_classes_that_are_drawn_points_and_boxes_tell_presence(folder: Path) -> None:
    """Of the other class, and of scans without strokes, all that they say is taken."""
    strokes = np.zeros((32, 32, 6), np.uint8)
    strokes[6:11, 12, 2] = 1
    write_nifti(folder / "a_scribble.nii.gz", strokes, np.diag([2.0, 2.0, 5.0, 1.0]))
    rough = _load(folder, BOXES, POINTS).targets
    both = _load(folder, BOXES, POINTS, SCRIBBLES).targets
    assert torch.equal(both.presence, rough.presence)
    assert both.boxes.flatten(2).any(dim=2).bool().tolist() == [[False, row == 3] for row in range(6)]
    assert [int((both.pixels[row] == 1).sum()) for row in range(6)] == [0, 0, 5, 0, 0, 0]
    assert torch.equal(both.pixels == 2, rough.pixels == 2)
    assert torch.equal(both.pixels == 255, rough.pixels == 255)
    assert both.stroked.tolist() == [[row == 2, False] for row in range(6)]
    strokes[23:26, 6, 3] = 2
    write_nifti(folder / "a_scribble.nii.gz", strokes, np.diag([2.0, 2.0, 5.0, 1.0]))
    drawn = _load(folder, BOXES, POINTS, SCRIBBLES).targets
    assert torch.equal(drawn.presence, rough.presence)
    assert [int((drawn.pixels == value).sum()) for value in (1, 2, 255)] == [5, 3, 0]
    assert not drawn.boxes.any()


def test_one_slice_that_is_marked_says_nothing_of_others() -> None:
    """But where another class is marked on several, one that was marked once ends there."""
    marked = torch.zeros(12, 2, dtype=torch.bool)
    marked[5, 0] = True
    alone = presence_of_marks(marked, torch.zeros(12, dtype=torch.bool))
    assert alone[:, 0].tolist() == [-1] * 5 + [1] + [-1] * 6
    marked[[2, 5, 8], 1] = True
    beside = presence_of_marks(marked, torch.zeros(12, dtype=torch.bool))
    assert beside[:, 0].tolist() == [0] * 3 + [-1] * 2 + [1] + [-1] * 2 + [0] * 4


def test_marks_on_every_third_slice_leave_those_between_open() -> None:
    marked = torch.zeros(12, 1, dtype=torch.bool)
    marked[[3, 6, 9]] = True
    found = presence_of_marks(marked, torch.zeros(12, dtype=torch.bool))[:, 0].tolist()
    assert found == [0, -1, -1, 1, -1, -1, 1, -1, -1, 1, -1, -1]


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("boxes.csv", "a,3,spleen,20,4,32,9"),
        ("boxes.csv", "a,3,spleen,20,40,27,44"),
        ("points.csv", "a,3,spleen,24,32"),
        ("points.csv", "a,3,spleen,9000,6"),
    ],
)
def test_what_lies_beyond_the_scan_is_refused(folder: Path, table: str, row: str) -> None:
    """32 rows and columns count from 0 to 31."""
    with (folder / table).open("a", encoding="utf-8") as file:
        file.write(row + "\n")
    with pytest.raises(WssegError, match=rf"{table}: slices of a have 32 rows and 32 columns, row \d+, column \d+ is"):
        _load(folder, BOXES if table == "boxes.csv" else POINTS)


def test_labels_of_scans_that_are_not_there_are_named(folder: Path) -> None:
    assert unmatched(folder, (BOXES, POINTS, SCRIBBLES), ORGANS) == []
    with (folder / "points.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"{case},3,spleen,24,6\n" for case in ("a_", "b", "c", "d"))
    (told,) = unmatched(folder, (BOXES, POINTS, SCRIBBLES), ORGANS)
    assert told == f"points: 4 of the scans that are labelled are not in {folder}: a_, b, c, ..."


def test_drawings_on_scans_that_are_not_there_are_named(folder: Path) -> None:
    for name in (
        "aa_scribble.nii.gz",
        "b_LABEL.nii",
        "b_label.nii",
        "c_correction.nrrd",
        "._d_label.nii",
        "e_label.txt",
    ):
        (folder / name).touch()
    told = unmatched(folder, kinds_named(["scribbles", "masks", "corrections"]), ORGANS)
    assert [sentence.split(":")[0] + sentence.rpartition(":")[2] for sentence in told] == [
        "masks b",
        "corrections c",
        "scribbles aa",
    ]
