"""Drawings: kept each on its own, rendered over one another, exchanged as files."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wsseg.errors import WssegError
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.volume import Volume
from wsseg.labels.database.store import LabelStore
from wsseg.labels.drawn.drawing import Drawing, Tool
from wsseg.labels.drawn.render import render
from wsseg.labels.exchange import Files, export_labels, import_labels
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.marks import BoxMark, PointMark, read_boxes, read_points
from wsseg.labels.project import Project
from wsseg.labels.space import LabelSpace

HEART = LabelSpace(("RV", "LV"))
GRID = Volume(np.zeros((20, 30, 4)), np.diag([1.0, 2.0, 5.0, 1.0]))
SCAN = ScanIdentity("a", "a", (20, 30, 4), 2)
HERE = Project("one", "file:///one")

WRITER = """
import sys
from pathlib import Path
from wsseg.labels.drawn.drawing import Drawing, Tool
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import LabelSpace
from wsseg.labels.database.store import LabelStore
home, who = Path(sys.argv[1]), sys.argv[2]
labels, scan = LabelSpace(("RV", "LV")), ScanIdentity("a", "a", (20, 30, 4), 2)
store = LabelStore.at(home, Project("one", "file:///one"))
for index in range(10_000):
    id = f"{who}-{index:08}"
    point = Drawing(id=id, tool=Tool.POINT, label="LV", classes=labels.names, axis=2, slice=1, points=((3, 4),))
    store.drawings.change(scan, [point], (), labels, who)
    print(id, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    store = LabelStore.at(tmp_path / "home", HERE)
    yield store
    store.close()


def drawing(
    tool: Tool, *points: tuple[float, float], id: str = "drawing-1", label: str = "LV", **more: object
) -> Drawing:
    given = {"classes": HEART.names, "axis": 2, "slice": 1, **more}
    return Drawing(id=id, tool=tool, label=label, points=points, **given)


STROKE = drawing(Tool.STROKE, (5, 5), (5, 10), id="stroke-1")
ERASED = drawing(Tool.BRUSH, (5, 8), id="brush-01", label="background", radius_mm=1.0)
BOX = drawing(Tool.BOX, (12, 20), (3, 4), id="box-0001", label="RV", slice=2)


class TestStore:
    def test_who_drew_what_and_when(self, store: LabelStore) -> None:
        first = store.drawings.change(SCAN, [STROKE], (), HEART, "ada")
        second = store.drawings.change(SCAN, [ERASED, BOX], (), HEART, "bob")
        found = store.drawings.of(SCAN)
        assert [(each.drawing, each.annotator, each.revision) for each in found] == [
            (STROKE, "ada", first),
            (ERASED, "bob", second),
            (BOX, "bob", second),
        ]
        assert found[0].time.tzinfo is not None
        assert [each.drawing for each in store.read(SCAN, HEART, first).drawings] == [STROKE]
        assert store.summaries(HEART)["a", "a"].drawings == 3

    def test_nobody_undoes_what_others_drew_over_it(self, store: LabelStore) -> None:
        first = store.drawings.change(SCAN, [STROKE], (), HEART, "ada")
        store.drawings.change(SCAN, [ERASED], (), HEART, "bob")
        undone = store.undo(first, "ada")
        assert [each.drawing for each in store.drawings.of(SCAN)] == [ERASED]
        store.undo(undone, "ada")
        assert {each.drawing for each in store.drawings.of(SCAN)} == {STROKE, ERASED}

    def test_a_drawing_that_is_sent_again_is_kept_once(self, store: LabelStore) -> None:
        first = store.drawings.change(SCAN, [STROKE], (), HEART, "ada")
        store.drawings.change(SCAN, [BOX], (), HEART, "ada")
        assert store.drawings.change(SCAN, [STROKE], (), HEART, "ada") == first
        moved = store.drawings.change(SCAN, [ERASED], [BOX.id], HEART, "ada")
        assert store.drawings.change(SCAN, [ERASED], [BOX.id], HEART, "ada") == moved
        assert [each.drawing for each in store.drawings.of(SCAN)] == [STROKE, ERASED]
        store.undo(moved, "ada")
        assert {each.drawing for each in store.drawings.of(SCAN)} == {STROKE, BOX}

    def test_a_slice_is_erased_and_comes_back(self, store: LabelStore) -> None:
        strokes = np.zeros(SCAN.shape, np.uint8)
        strokes[2, 2, 1] = 1
        store.scribble(SCAN, strokes, HEART, "slicer")
        store.drawings.change(SCAN, [STROKE, BOX], (), HEART, "ada")
        erased = store.erase(SCAN, 1, HEART, "ada")
        known = store.read(SCAN, HEART)
        assert ([each.drawing for each in known.drawings], known.scribbles) == ([BOX], None)
        store.undo(erased, "ada")
        known = store.read(SCAN, HEART)
        assert len(known.drawings) == 2
        assert np.array_equal(known.scribbles, strokes)

    @pytest.mark.parametrize(
        ("wrong", "sentence"),
        [
            (drawing(Tool.STROKE, (5, 5), slice=4), r"^a, slice 4, stroke: the scan has slices 0 to 3"),
            (drawing(Tool.STROKE, (5, 5), axis=0), "along the stored axis 2"),
            (drawing(Tool.STROKE, (5, 31)), "lies outside the slice, which has 20 x 30 voxels"),
            (drawing(Tool.STROKE, (5, 5), label="liver"), 'label "liver" is unknown, known are: RV, LV, background'),
            (drawing(Tool.POINT, (5, 5), (6, 6)), "has 2 points, 1 are needed"),
            (drawing(Tool.BOX, (5, 5), (6, 6), label="background"), "a box is around a class"),
        ],
    )
    def test_what_does_not_lie_on_the_scan(self, store: LabelStore, wrong: Drawing, sentence: str) -> None:
        with pytest.raises(WssegError, match=sentence):
            store.drawings.change(SCAN, [wrong], (), HEART, "ada")
        with pytest.raises(WssegError, match="there is no drawing unknown-1 to remove"):
            store.drawings.change(SCAN, [], ["unknown-1"], HEART, "ada")
        assert store.drawings.of(SCAN) == []

    @pytest.mark.long
    def test_two_annotators_are_killed_and_lose_nothing(self, store: LabelStore, tmp_path: Path) -> None:
        home, told = tmp_path / "home", set()
        for _ in range(2):
            writers = [
                subprocess.Popen(
                    [sys.executable, "-c", WRITER, str(home), who], stdout=subprocess.PIPE, encoding="utf-8"
                )
                for who in ("ada", "bob")
            ]
            for writer in writers:
                assert writer.stdout
                told |= {writer.stdout.readline().strip() for _ in range(15)}
            for writer in writers:
                writer.send_signal(signal.SIGKILL)
                assert writer.stdout
                told |= {line.strip() for line in writer.stdout if line.endswith("\n")}
                writer.wait()
        held = {each.drawing.id for each in store.drawings.of(SCAN)}
        assert told <= held
        assert {id[:3] for id in held} == {"ada", "bob"}


class TestRender:
    def test_the_later_one_wins_where_two_lie(self) -> None:
        found = render([STROKE, ERASED], GRID, HEART)
        assert found.scribbles[5, 5:11, 1].tolist() == [2, 2, 2, 0, 2, 2]
        assert np.argwhere(found.corrections).tolist() == [[4, 8, 1], [5, 8, 1], [6, 8, 1]]
        assert set(np.unique(found.corrections)) == {0, 255}
        assert found.pixels[5, 5:11, 1].tolist() == [2, 2, 2, 255, 2, 2]

    def test_a_line_is_as_wide_in_millimetres_as_drawn(self) -> None:
        found = render([drawing(Tool.BRUSH, (10, 15), radius_mm=4.0)], GRID, HEART)
        rows, columns, _ = np.nonzero(found.corrections)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 14, 13, 17)

    def test_marks_along_any_axis(self) -> None:
        box = drawing(Tool.BOX, (12, 3), (4, 0), axis=0, slice=19, label="RV")
        point = drawing(Tool.POINT, (29.4, 3.4), axis=0, slice=7)
        found = render([box, point], GRID, HEART)
        assert found.boxes == (BoxMark(1, 19, 4, 0, 12, 3, axis=0),)
        assert found.points == (PointMark(2, 7, 29, 3, axis=0),)
        assert found.pixels[7, 29, 3] == 2

    def test_a_point_that_is_drawn_over_says_nothing_more(self) -> None:
        points = [drawing(Tool.POINT, (5, 8), id="point-01"), drawing(Tool.POINT, (15, 8), id="point-02")]
        found = render([*points, ERASED], GRID, HEART)
        assert found.points == (PointMark(2, 1, 15, 8),)
        assert found.pixels[5, 8, 1] == 255
        none = drawing(Tool.POINT, (15, 8), id="point-03", label="background")
        assert render([points[1], none], GRID, HEART).points == ()
        assert render([none, points[1]], GRID, HEART).nowhere == ()

    def test_background_is_none_of_fewer_classes_and_may_be_one_of_more(self) -> None:
        fewer, more = LabelSpace(("LV",)), LabelSpace(("RV", "LV", "aorta"))
        assert render([ERASED], GRID, fewer).corrections.any()
        assert not render([ERASED], GRID, more).corrections.any()
        assert render([STROKE], GRID, more).scribbles.max() == 2


def test_drawings_go_into_files_and_come_back(store: LabelStore, tmp_path: Path) -> None:
    studies, out = tmp_path / "studies", tmp_path / "out"
    studies.mkdir()
    noise = np.random.default_rng(0).normal(size=SCAN.shape).astype(np.float32)
    write_nifti(studies / "a.nii.gz", noise, GRID.affine)
    files = Files({"a": studies / "a.nii.gz"})
    point = drawing(Tool.POINT, (3, 4), id="point-01", slice=3)
    store.drawings.change(files.identity("a"), [STROKE, ERASED, BOX, point], (), HEART, "ada")
    written = export_labels(store, out, files, HEART)
    assert sorted(written) == ["a_correction.nii.gz", "a_scribble.nii.gz", "boxes.csv", "points.csv"]
    assert read_boxes(out / "boxes.csv", HEART) == {"a": [BoxMark(1, 2, 3, 4, 12, 20)]}
    assert read_points(out / "points.csv", HEART) == {"a": [PointMark(2, 3, 3, 4)]}

    other = LabelStore.at(tmp_path / "other", HERE)
    for _ in range(2):
        assert sorted(import_labels(other, out, files, HEART, "import").taken) == sorted(written)
        assert other.revision() == 4  # nothing is written twice
    export_labels(other, tmp_path / "again", files, HEART)
    for name in ("boxes.csv", "points.csv"):
        assert (tmp_path / "again" / name).read_text("utf-8") == (out / name).read_text("utf-8")
    other.close()


def test_foreign_codes(store: LabelStore, tmp_path: Path) -> None:
    studies, given = tmp_path / "studies", tmp_path / "given"
    studies.mkdir()
    given.mkdir()
    noise = np.random.default_rng(0).normal(size=SCAN.shape).astype(np.float32)
    write_nifti(studies / "a.nii.gz", noise, GRID.affine)
    theirs = np.full(SCAN.shape, 4, np.uint8)
    theirs[0, :, :] = 0
    theirs[1, :, :] = 2
    write_nifti(given / "a_scribble.nii.gz", theirs, GRID.affine)
    files = Files({"a": studies / "a.nii.gz"})
    with pytest.raises(WssegError, match="scribble value 4 is none of 0 to 2 or 255"):
        import_labels(store, given, files, HEART, "import")
    import_labels(store, given, files, HEART, "import", {0: 255, 4: 0})
    found = store.read(files.identity("a"), HEART).scribbles
    assert found is not None
    assert [np.unique(plane).tolist() for plane in found[:3]] == [[255], [2], [0]]
