"""Weak labels in a database: kept for ever, for everybody, whatever is killed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.images.formats import read_volume, write_mask
from wsseg.images.volume import Volume
from wsseg.labels.exchange import export_presence, export_scribbles, import_presence, import_scribbles
from wsseg.labels.space import LabelSpace
from wsseg.labels.store import FILE, LabelStore, Mark
from wsseg.labels.tables import write_presence

TUMOR = LabelSpace(("tumor",))
HEART = LabelSpace(("RV", "Myo", "LV"))
GRID = (4, 5, 3)

WRITER = """
import sys
from pathlib import Path
from wsseg.labels.space import LabelSpace
from wsseg.labels.store import LabelStore, Mark
home, case, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
store = LabelStore.at(home)
for index in range(first, first + count):
    print(index, store.mark(case, [Mark("tumor", index, index % 2)], LabelSpace(("tumor",)), 99999, case), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    store = LabelStore.at(tmp_path)
    yield store
    store.close()


def rows(home: Path, query: str) -> list[Any]:
    """What another program reads from the file."""
    with sqlite3.connect(home / FILE) as connection:
        return connection.execute(query).fetchall()


def drawn(*strokes: tuple[int, int, int, int]) -> np.ndarray:
    voxels = np.zeros(GRID, np.uint8)
    for x, y, index, value in strokes:
        voxels[x, y, index] = value
    return voxels


def scan(shift: float = 0.0) -> Volume:
    affine = np.diag([-0.9, 0.9, 5.0, 1.0])
    affine[:3, 3] = (100.5 + shift, -20.25, 7.0)
    return Volume(np.zeros(GRID, np.float32), affine)


def writer(home: Path, case: str, first: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(home), case, str(first), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class TestWhatIsGivenIsRead:
    def test_nothing_given(self, store: LabelStore) -> None:
        assert store.revision() == 0
        assert store.cases() == []
        read = store.read("a", HEART, GRID)
        assert read.presence.dtype == np.int8
        assert read.presence.tolist() == [[-1] * 3] * 3
        assert (read.scribbles, read.text) == (None, None)

    def test_newest_state_of_each_class_and_slice(self, store: LabelStore) -> None:
        assert store.mark("a", [Mark("RV", 0, 1), Mark("LV", 2, 0)], HEART, 3, "me") == 1
        assert store.mark("a", [Mark("RV", 0, 0), Mark("Myo", 1, 1)], HEART, 3, "you") == 2
        assert store.mark("b", [Mark("LV", 2, -1)], HEART, 3, "me") == 3
        assert store.read("a", HEART, GRID).presence.tolist() == [[0, -1, -1], [-1, 1, -1], [-1, -1, 0]]
        assert store.cases() == ["a", "b"]
        assert store.revision() == 3

    def test_rows_say_who_and_when(self, store: LabelStore, tmp_path: Path) -> None:
        store.mark("a", [Mark("tumor", 1, 1)], TUMOR, 3, "Zoë")
        query = "SELECT scan, label, slice, state, annotator, time FROM presence JOIN writes USING (serial)"
        [(*row, given)] = rows(tmp_path, query)
        assert row == ["a", "tumor", 1, 1, "Zoë"]
        age = datetime.now(UTC) - datetime.fromisoformat(given).replace(tzinfo=UTC)
        assert 0 <= age.total_seconds() < 60

    def test_a_state_given_again_is_a_row_again(self, store: LabelStore) -> None:
        assert [store.mark("a", [Mark("tumor", 1, 1)], TUMOR, 3, who) for who in ("me", "you")] == [1, 2]

    def test_numbers_of_numpy(self, store: LabelStore, tmp_path: Path) -> None:
        store.mark("a", [Mark("tumor", np.argmax([0, 1]), np.int8(1))], TUMOR, 3, "me")
        assert rows(tmp_path, "SELECT slice, state FROM presence") == [(1, 1)]

    def test_another_model_sees_its_own_classes(self, store: LabelStore) -> None:
        store.mark("a", [Mark("tumor", 0, 1)], TUMOR, 3, "me")
        store.scribble("a", drawn((0, 0, 0, 1)), TUMOR, GRID, "me")
        read = store.read("a", HEART, GRID)
        assert (read.presence == -1).all()
        assert read.scribbles is None

    def test_scribbles_are_laid_over_each_other(self, store: LabelStore) -> None:
        store.scribble("a", drawn((0, 0, 0, 1), (1, 1, 1, 255), (2, 2, 2, 3)), HEART, GRID, "me")
        store.scribble("a", drawn((1, 1, 1, 2), (3, 4, 2, 255)), HEART, GRID, "you")
        read = store.read("a", HEART, GRID).scribbles
        assert read is not None
        assert read.dtype == np.uint8
        assert np.array_equal(read, drawn((0, 0, 0, 1), (1, 1, 1, 2), (2, 2, 2, 3), (3, 4, 2, 255)))

    def test_strokes_sent_again_are_not_written_again(self, store: LabelStore) -> None:
        first = store.scribble("a", drawn((0, 0, 0, 1), (1, 1, 1, 255)), TUMOR, GRID, "me")
        assert store.scribble("a", drawn((1, 1, 1, 255)).astype(np.int16), TUMOR, GRID, "me") == first
        assert store.revision() == first

    def test_scribbles_of_a_slice_are_erased_and_brought_back(self, store: LabelStore) -> None:
        first = store.scribble("a", drawn((0, 0, 0, 1), (1, 1, 1, 255)), TUMOR, GRID, "me")
        erased = store.erase("a", 1, TUMOR, GRID, "me")
        assert np.array_equal(store.read("a", TUMOR, GRID).scribbles, drawn((0, 0, 0, 1)))
        for index, labels in ((1, TUMOR), (0, HEART), (-1, TUMOR), (3, TUMOR)):
            with pytest.raises(WssegError, match=f"a, slice {index}: there are no scribbles to erase"):
                store.erase("a", index, labels, GRID, "me")
        assert store.revision() == erased
        store.erase("a", 0, TUMOR, GRID, "me")
        assert store.read("a", TUMOR, GRID).scribbles is None
        assert not store.summaries(TUMOR)["a"].scribbles
        assert np.array_equal(store.read("a", TUMOR, GRID, first).scribbles, drawn((0, 0, 0, 1), (1, 1, 1, 255)))
        store.undo(store.scribble("a", drawn((2, 2, 2, 1)), TUMOR, GRID, "me"), "me")
        assert store.read("a", TUMOR, GRID).scribbles is None

    def test_text(self, store: LabelStore) -> None:
        store.describe("a", "  Masse temporale gauche :\n32\u00a0mm ", "me")
        assert store.read("a", TUMOR, GRID).text == "Masse temporale gauche :\n32\u00a0mm"
        cleared = store.describe("a", " \n", "me")
        assert store.read("a", TUMOR, GRID).text is None
        assert not store.summaries(TUMOR)["a"].text
        store.undo(cleared, "me")
        assert store.text("a") == "Masse temporale gauche :\n32\u00a0mm"
        assert store.cases() == ["a"]

    def test_what_was_known_earlier(self, store: LabelStore) -> None:
        then = store.describe("a", "one", "me")
        store.describe("a", "two", "me")
        store.mark("a", [Mark("tumor", 0, 1)], TUMOR, 3, "me")
        store.scribble("a", drawn((0, 0, 0, 1)), TUMOR, GRID, "me")
        read = store.read("a", TUMOR, GRID, revision=then)
        assert (read.text, read.scribbles, read.presence.max()) == ("one", None, -1)
        assert store.read("a", TUMOR, GRID, revision=0).text is None

    def test_presence_of_several_scans(self, store: LabelStore) -> None:
        then = store.mark("a", [Mark("tumor", 0, 1)], TUMOR, 3, "me")
        store.mark("b", [Mark("tumor", 1, 0)], TUMOR, 2, "me")
        read = store.presence({"a": 3, "b": 2}, TUMOR)
        assert {case: presence.tolist() for case, presence in read.items()} == {"a": [[1, -1, -1]], "b": [[-1, 0]]}
        assert store.presence({"b": 2}, TUMOR, then)["b"].tolist() == [[-1, -1]]

    def test_how_far_each_scan_is_labelled(self, store: LabelStore) -> None:
        store.mark("a", [Mark("RV", 0, 1), Mark("LV", 0, 0), Mark("RV", 2, 1), Mark("LV", 1, 1)], HEART, 3, "me")
        store.mark("a", [Mark("LV", 1, -1)], HEART, 3, "you")
        store.scribble("b", drawn((0, 0, 0, 1)), TUMOR, GRID, "me")
        store.undo(store.scribble("b", drawn((0, 0, 0, 1)), HEART, GRID, "me"), "me")
        store.describe("b", "one", "you")
        heart, tumor = store.summaries(HEART), store.summaries(TUMOR)
        known = [(each.labelled, each.scribbles, each.text) for each in (*heart.values(), *tumor.values())]
        assert known == [(2, False, False), (0, False, True), (0, False, False), (0, True, True)]
        assert [heart[case].annotator for case in store.cases()] == ["you", "you"]
        assert 0 <= (datetime.now(UTC) - heart["a"].time).total_seconds() < 60

    def test_what_a_write_was_about(self, store: LabelStore) -> None:
        assert store.touched(store.mark("a", [Mark("RV", 0, 1), Mark("LV", 1, 0)], HEART, 3, "me")) == ["a"]
        both = {"a": np.array([[1]], np.int8), "b": np.array([[0]], np.int8)}
        assert store.touched(store.fill(both, TUMOR, "me")) == ["a", "b"]
        assert store.touched(99) == []
        assert store.classes("a") == ["LV", "RV", "tumor"]
        assert store.classes("c") == []

    def test_it_is_there_when_opened_again(self, tmp_path: Path) -> None:
        home = tmp_path / "a new folder, 100 %?#"
        first = LabelStore.at(home)
        first.describe("a", "one", "me")
        first.close()
        assert LabelStore.at(home).read("a", TUMOR, GRID).text == "one"
        assert [path.name for path in home.iterdir() if path.suffix == ".sqlite3"] == [FILE]


class TestUndo:
    def test_everything_the_write_touched_and_nothing_else(self, store: LabelStore) -> None:
        store.mark("a", [Mark("RV", 0, 1), Mark("LV", 2, 1)], HEART, 3, "me")
        second = store.mark("a", [Mark("RV", 0, 0), Mark("Myo", 1, 1)], HEART, 3, "me")
        undone = store.undo(second, "me")
        assert undone == second + 1
        assert store.read("a", HEART, GRID).presence.tolist() == [[1, -1, -1], [-1] * 3, [-1, -1, 1]]
        store.undo(undone, "me")
        assert store.read("a", HEART, GRID).presence.tolist() == [[0, -1, -1], [-1, 1, -1], [-1, -1, 1]]

    def test_back_to_nothing_and_no_row_is_lost(self, store: LabelStore, tmp_path: Path) -> None:
        writes = [
            store.mark("a", [Mark("tumor", 0, 1)], TUMOR, 3, "me"),
            store.scribble("a", drawn((0, 0, 0, 1)), TUMOR, GRID, "me"),
            store.scribble("a", drawn((1, 0, 0, 1)), TUMOR, GRID, "me"),
            store.describe("a", "one", "me"),
        ]
        for write in reversed(writes):
            store.undo(write, "me")
        read = store.read("a", TUMOR, GRID)
        assert (read.presence.max(), read.scribbles, read.text) == (-1, None, None)
        counts = (
            "SELECT (SELECT count(*) FROM presence), (SELECT count(*) FROM scribbles), (SELECT count(*) FROM texts)"
        )
        assert rows(tmp_path, counts) == [(2, 4, 2)]

    def test_not_what_somebody_else_has_written_over(self, store: LabelStore) -> None:
        marks = store.mark("a", [Mark("RV", 0, 1), Mark("RV", 1, 1)], HEART, 3, "me")
        strokes = store.scribble("a", drawn((0, 0, 0, 1)), HEART, GRID, "me")
        store.mark("a", [Mark("RV", 1, 0)], HEART, 3, "you")
        store.scribble("a", drawn((1, 0, 0, 1)), HEART, GRID, "you")
        for write in (marks, strokes):
            with pytest.raises(WssegError, match="a: you has written over this since"):
                store.undo(write, "me")
        assert store.revision() == 4

    @pytest.mark.parametrize("revision", [-1, 0, 2])
    def test_no_such_write(self, store: LabelStore, revision: int) -> None:
        store.describe("a", "one", "me")
        with pytest.raises(NotFoundError, match=f"no write {revision}"):
            store.undo(revision, "me")


class TestRefused:
    @pytest.mark.parametrize(
        ("marks", "reason"),
        [
            ([], "^a: no label is given"),
            ([Mark("liver", 0, 1)], 'a, slice 0: label "liver" is unknown, known are: RV, Myo, LV'),
            ([Mark("RV", 3, 1)], "a, slice 3: the scan has slices 0 to 2"),
            ([Mark("RV", -1, 1)], "a, slice -1: the scan has slices 0 to 2"),
            ([Mark("RV", 0.5, 1)], r"a, slice 0\.5: the scan has slices 0 to 2"),
            ([Mark("RV", 0, 2)], "a, slice 0: RV must be 1, 0 or -1, not 2"),
            ([Mark("RV", 0, "1")], "a, slice 0: RV must be 1, 0 or -1, not '1'"),
            ([Mark("RV", 0, 1), Mark("RV", 0, 0)], "a: RV on slice 0 is given twice"),
        ],
    )
    def test_marks(self, store: LabelStore, marks: list[Mark], reason: str) -> None:
        with pytest.raises(WssegError, match=reason):
            store.mark("a", [Mark("LV", 1, 1), *marks] if marks else marks, HEART, 3, "me")
        assert store.revision() == 0
        assert store.cases() == []

    @pytest.mark.parametrize(
        ("voxels", "reason"),
        [
            (drawn(), "a: the scribbles are empty"),
            (drawn((1, 2, 2, 4)), "a, slice 2: scribble value 4 is none of 0 to 3 or 255"),
            (drawn((1, 2, 2, 1)) * np.float32(0.5), r"a, slice 2: scribble value 0\.5 is none"),
            (drawn((1, 2, 2, 1)) * np.float32(np.nan), "a, slice 0: scribble value nan is none"),
            (drawn((1, 2, 2, 1)) * np.int16(-1), "a, slice 2: scribble value -1 is none"),
            (drawn()[:, :, :2], "a: the scribbles are 4 x 5 x 2 voxels, the scan is 4 x 5 x 3"),
            (drawn()[:, :, 0], "a: the scribbles are 4 x 5 voxels"),
        ],
    )
    def test_scribbles(self, store: LabelStore, voxels: np.ndarray, reason: str) -> None:
        with pytest.raises(WssegError, match=reason):
            store.scribble("a", voxels, HEART, GRID, "me")
        assert store.revision() == 0

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("x" * 2001, "a: the text has 2001 characters, 2000 are possible"),
            ("mass\x00", "a: the text holds control characters"),
            ("mass\ud800", "a: the text holds control characters"),
        ],
    )
    def test_text(self, store: LabelStore, text: str, reason: str) -> None:
        with pytest.raises(WssegError, match=reason):
            store.describe("a", text, "me")
        assert store.revision() == 0

    @pytest.mark.parametrize("name", ["", " ", "x" * 256, "a\nb", "a\x00", "\ud800"])
    def test_names(self, store: LabelStore, name: str) -> None:
        with pytest.raises(WssegError, match="the name of the scan") as caught:
            store.describe(name, "one", "me")
        assert "\n" not in str(caught.value)
        with pytest.raises(WssegError, match="the name of the annotator"):
            store.describe("a", "one", name)
        assert store.revision() == 0

    @pytest.mark.parametrize("name", ["../a", "a\\b"])
    def test_a_scan_named_like_a_path(self, store: LabelStore, name: str) -> None:
        with pytest.raises(WssegError, match="holds a character that no name may have"):
            export_scribbles(store, Path(), name, scan(), TUMOR)
        with pytest.raises(WssegError, match="holds a character that no name may have"):
            store.mark(name, [Mark("tumor", 0, 1)], TUMOR, 3, "me")

    def test_a_scan_that_has_other_slices_now(self, store: LabelStore) -> None:
        store.mark("a", [Mark("tumor", 2, 1)], TUMOR, 3, "me")
        with pytest.raises(WssegError, match="a: tumor is labelled on slice 2, but the scan has 2 slices"):
            store.read("a", TUMOR, (4, 5, 2))
        store.scribble("b", drawn((0, 0, 0, 1)), TUMOR, GRID, "me")
        with pytest.raises(WssegError, match="b: has scribbles of 4 x 5 x 3 voxels, but the scan is 5 x 4 x 3"):
            store.scribble("b", drawn((0, 0, 0, 1)).transpose(1, 0, 2), TUMOR, (5, 4, 3), "me")


class TestDatabase:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("nonsense", "^labels: Could not parse"),
            ("nosuch://host/labels", "labels in nosuch://host/labels"),
            ("sqlite:////no/such/folder/labels.sqlite3", "unable to open database file"),
        ],
    )
    def test_no_database_there(self, url: str, reason: str) -> None:
        with pytest.raises(WssegError, match=reason) as caught:
            LabelStore(url)
        assert "\n" not in str(caught.value)

    def test_a_password_is_not_repeated(self) -> None:
        with pytest.raises(WssegError) as caught:
            LabelStore("nosuch://me:secret@host/labels")
        assert "secret" not in str(caught.value)

    def test_a_database_that_has_gone(self, store: LabelStore, tmp_path: Path) -> None:
        store.describe("a", "one", "me")
        with sqlite3.connect(tmp_path / FILE) as connection:
            connection.execute("DROP TABLE presence")
        with pytest.raises(UnavailableError, match="no such table") as caught:
            store.read("a", TUMOR, GRID)
        assert caught.value.status == 503

    def test_a_damaged_file(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"not a database, " * 100)
        for readonly in (False, True):
            with pytest.raises(WssegError, match="file is not a database"):
                LabelStore.at(tmp_path, readonly)

    def test_a_later_format(self, store: LabelStore, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / FILE) as connection:
            connection.execute("UPDATE store SET format = 7")
        with pytest.raises(WssegError, match="are of format 7, this version of wsseg knows 1"):
            LabelStore.at(tmp_path)

    def test_as_durable_as_promised(self, store: LabelStore, tmp_path: Path) -> None:
        store.describe("a", "one", "me")
        with store._writing() as connection:
            asked = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "foreign_keys")]
            assert asked == [2, 1]
        assert rows(tmp_path, "PRAGMA journal_mode") == [("wal",)]


class TestReadonly:
    def test_nothing_there_yet(self, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"labels\.sqlite3: there are no labels yet"):
            LabelStore.at(tmp_path, readonly=True)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / FILE).touch()
        with pytest.raises(NotFoundError, match="there are none yet"):
            LabelStore.at(tmp_path, readonly=True)

    def test_reads_what_others_write_and_writes_nothing(self, store: LabelStore, tmp_path: Path) -> None:
        trainer = LabelStore.at(tmp_path, readonly=True)
        store.describe("a", "one", "me")
        assert trainer.read("a", TUMOR, GRID).text == "one"
        for refused in (
            lambda: trainer.describe("a", "two", "trainer"),
            lambda: trainer.mark("a", [Mark("tumor", 0, 1)], TUMOR, 3, "trainer"),
            lambda: trainer.scribble("a", drawn((0, 0, 0, 1)), TUMOR, GRID, "trainer"),
            lambda: trainer.undo(1, "trainer"),
        ):
            with pytest.raises(WssegError, match="opened for reading only"):
                refused()
        with pytest.raises(sa.exc.OperationalError, match="readonly"), trainer._engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM texts")
        assert store.read("a", TUMOR, GRID).text == "one"
        trainer.close()


class TestFiles:
    SLICES = {"a": 3, "b": 2, "c": 4}

    def test_presence_there_and_back(self, store: LabelStore, tmp_path: Path) -> None:
        store.mark("a", [Mark("RV", 0, 1), Mark("LV", 2, 0), Mark("Myo", 1, -1)], HEART, 3, "me")
        store.mark("b", [Mark("Myo", 1, 1)], HEART, 2, "me")
        path = tmp_path / "image_labels.csv"
        export_presence(store, path, HEART, self.SLICES)
        assert path.read_text().splitlines()[:2] == ["case,slice,RV,Myo,LV", "a,0,1,,"]
        other = LabelStore.at(tmp_path / "other")
        assert import_presence(other, path, HEART, self.SLICES, "me") == 1
        assert other.cases() == ["a", "b"]
        for case, count in self.SLICES.items():
            one, two = (each.read(case, HEART, (4, 5, count)).presence for each in (store, other))
            assert np.array_equal(one, two)

    def test_importing_again_changes_nothing(self, store: LabelStore, tmp_path: Path) -> None:
        path = tmp_path / "image_labels.csv"
        write_presence(path, {"a": np.array([[1, 0, -1]], np.int8), "b": np.array([[0]], np.int8)}, TUMOR)
        store.mark("a", [Mark("tumor", 2, 1)], TUMOR, 3, "me")
        assert [import_presence(store, path, TUMOR, self.SLICES, "me") for _ in range(2)] == [2, 2]
        assert rows(tmp_path, "SELECT count(*) FROM presence") == [(4,)]
        assert store.read("a", TUMOR, GRID).presence.tolist() == [[1, 0, 1]]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("a,0,1\nd,0,1\n", "there is no scan d"),
            ("a,0,1\nb,2,1\n", "b has 2 slices, but presence is listed for 3"),
            ("a,0,1\nb,0,5\n", "line 3: tumor must be 1, 0 or empty"),
        ],
    )
    def test_all_of_a_file_or_nothing(self, store: LabelStore, tmp_path: Path, text: str, reason: str) -> None:
        path = tmp_path / "image_labels.csv"
        path.write_text(f"case,slice,tumor\n{text}")
        with pytest.raises(WssegError, match=reason) as caught:
            import_presence(store, path, TUMOR, self.SLICES, "me")
        assert str(caught.value).startswith(str(path))
        assert store.revision() == 0

    def test_scribbles_there_and_back(self, store: LabelStore, tmp_path: Path) -> None:
        strokes = drawn((0, 0, 0, 1), (1, 4, 2, 255), (3, 1, 1, 3))
        store.scribble("a", strokes, HEART, GRID, "me")
        path = export_scribbles(store, tmp_path, "a", scan(), HEART)
        assert path == tmp_path / "a_scribble.nii.gz"
        assert np.allclose(read_volume(path).affine, scan().affine)
        other = LabelStore.at(tmp_path / "other")
        assert [import_scribbles(other, "a", path, scan(), HEART, "me") for _ in range(2)] == [1, 1]
        read = other.read("a", HEART, GRID).scribbles
        assert read is not None
        assert np.array_equal(read, strokes)

    def test_scribbles_of_another_scan(self, store: LabelStore, tmp_path: Path) -> None:
        path = tmp_path / "a_scribble.nii.gz"
        write_mask(path, scan(shift=3.0).like(drawn((0, 0, 0, 1))))
        with pytest.raises(WssegError, match=f"{path}: is on another grid than a"):
            import_scribbles(store, "a", path, scan(), TUMOR, "me")
        with pytest.raises(NotFoundError, match="a: has no scribbles of tumor"):
            export_scribbles(store, tmp_path, "a", scan(), TUMOR)


class TestConcurrency:
    def test_processes_that_write_at_once_lose_nothing(self, tmp_path: Path) -> None:
        writers = [writer(tmp_path, case, 0, 60) for case in ("a", "b", "c")]  # the first to come makes the file
        serials: list[int] = []
        for process in writers:
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            serials += [int(line.split()[1]) for line in out.splitlines()]
        assert sorted(serials) == list(range(1, 181))
        store = LabelStore.at(tmp_path, readonly=True)
        assert store.revision() == 180
        for case in ("a", "b", "c"):
            assert store.read(case, TUMOR, (1, 1, 60)).presence[0].tolist() == [0, 1] * 30
        store.close()

    def test_threads_that_scribble_at_once_lose_nothing(self, store: LabelStore) -> None:
        voxels = [(x, y, index) for x in range(4) for y in range(5) for index in range(3)]

        def scribble(mine: list[tuple[int, int, int]], who: str) -> None:
            for voxel in mine:
                store.scribble("a", drawn((*voxel, 1)), TUMOR, GRID, who)

        threads = [threading.Thread(target=scribble, args=(voxels[k::4], f"thread {k}")) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        read = store.read("a", TUMOR, GRID).scribbles
        assert read is not None
        assert read.all()
        assert store.revision() == len(voxels)

    def test_a_killed_writer_loses_nothing_that_was_acknowledged(self, tmp_path: Path) -> None:
        moments, acknowledged = random.Random(4), {}
        for _ in range(4):
            process = writer(tmp_path, "a", len(acknowledged), 90_000)
            assert process.stdout is not None
            acknowledged.update(_pair(process.stdout.readline()) for _ in range(moments.randrange(1, 9)))
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            out, _ = process.communicate(timeout=30)
            acknowledged.update(_pair(line) for line in out.splitlines(keepends=True) if line.endswith("\n"))
        written = rows(tmp_path, "SELECT slice, serial, state FROM presence")
        assert {(index, serial) for index, serial, _ in written} >= set(acknowledged.items())
        assert all(state == index % 2 for index, _, state in written)
        assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        store = LabelStore.at(tmp_path)
        assert store.describe("a", "one", "me") > max(acknowledged.values())
        store.close()


def _pair(line: str) -> tuple[int, int]:
    index, serial = line.split()
    return int(index), int(serial)


def test_postgresql() -> None:
    url = os.environ.get("WSSEG_TEST_POSTGRESQL")
    if not url:
        pytest.skip("no PostgreSQL server, set WSSEG_TEST_POSTGRESQL to the URL of an empty database")
    store, other = LabelStore(url), LabelStore(url)
    store.mark("a", [Mark("tumor", 0, 1), Mark("tumor", 1, 0)], TUMOR, 3, "me")
    second = other.mark("a", [Mark("tumor", 1, 1), Mark("tumor", 2, 1)], TUMOR, 3, "you")
    store.scribble("a", drawn((0, 0, 0, 1)), TUMOR, GRID, "me")
    store.undo(second, "you")
    store.undo(store.describe("a", "one", "me"), "me")

    def scribble(each: LabelStore, x: int) -> None:
        for y in range(5):
            each.scribble("a", drawn((x, y, 1, 255)), TUMOR, GRID, "me")

    threads = [threading.Thread(target=scribble, args=(each, x)) for x, each in enumerate((store, other, store))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = LabelStore(url, readonly=True)
    read = reader.read("a", TUMOR, GRID)
    assert read.presence.tolist() == [[1, 0, -1]]
    assert read.text is None
    assert read.scribbles is not None
    assert (read.scribbles[:3, :, 1] == 255).all()
    assert store.fill({"b": np.array([[1, 0]], np.int8)}, TUMOR, "me") == store.revision()
    known = {case: (each.labelled, each.scribbles, each.text) for case, each in reader.summaries(TUMOR).items()}
    assert known == {"a": (2, True, False), "b": (2, False, False)}
    assert reader.touched(store.revision()) == ["b"]
    assert reader.classes("a") == ["tumor"]
    with pytest.raises(sa.exc.DBAPIError, match="read-only"), reader._engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM texts")
    for each in (store, other, reader):
        each.close()
