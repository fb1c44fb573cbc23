"""Weak labels in a database: kept for ever, for everybody, whatever is killed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from label_stores import HERE, TUMOR, A, B, C, drawn, rows, scan
from wsseg.errors import NotFoundError, WssegError
from wsseg.labels.database.store import FILE, LabelStore
from wsseg.labels.space import LabelSpace
from wsseg.labels.values import Mark

HEART = LabelSpace(("RV", "Myo", "LV"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    store = LabelStore.at(tmp_path, HERE)
    yield store
    store.close()


class TestWhatIsGivenIsRead:
    def test_nothing_given(self, store: LabelStore) -> None:
        assert store.revision() == 0
        assert store.contents() == {}
        read = store.read(A, HEART)
        assert read.presence.dtype == np.int8
        assert read.presence.tolist() == [[-1] * 3] * 3
        assert (read.scribbles, read.text) == (None, None)

    def test_newest_state_of_each_class_and_slice(self, store: LabelStore) -> None:
        assert store.mark(A, [Mark("RV", 0, 1), Mark("LV", 2, 0)], HEART, "me") == 1
        assert store.mark(A, [Mark("RV", 0, 0), Mark("Myo", 1, 1)], HEART, "you") == 2
        assert store.mark(B, [Mark("LV", 2, -1)], HEART, "me") == 3
        assert store.read(A, HEART).presence.tolist() == [[0, -1, -1], [-1, 1, -1], [-1, -1, 0]]
        assert store.contents() == {"a": ["a"], "b": ["b"]}
        assert store.revision() == 3

    def test_rows_say_who_and_when(self, store: LabelStore, tmp_path: Path) -> None:
        store.mark(A, [Mark("tumor", 1, 1)], TUMOR, "Zoë")
        query = "SELECT name, label, axis, slice, value, annotator, time FROM labels JOIN writes USING (serial) "
        query += "JOIN scans ON scans.id = labels.scan"
        [(*row, given)] = rows(tmp_path, query)
        assert row == ["a", "tumor", 2, 1, b"1", "Zoë"]
        age = datetime.now(UTC) - datetime.fromisoformat(given).replace(tzinfo=UTC)
        assert 0 <= age.total_seconds() < 60

    def test_a_state_given_again_is_a_row_again(self, store: LabelStore) -> None:
        assert [store.mark(A, [Mark("tumor", 1, 1)], TUMOR, who) for who in ("me", "you")] == [1, 2]

    def test_numbers_of_numpy(self, store: LabelStore, tmp_path: Path) -> None:
        store.mark(A, [Mark("tumor", np.argmax([0, 1]), np.int8(1))], TUMOR, "me")
        assert rows(tmp_path, "SELECT slice, value FROM labels") == [(1, b"1")]

    def test_another_model_sees_its_own_classes(self, store: LabelStore) -> None:
        store.mark(A, [Mark("tumor", 0, 1)], TUMOR, "me")
        store.scribble(A, drawn((0, 0, 0, 1)), TUMOR, "me")
        read = store.read(A, HEART)
        assert (read.presence == -1).all()
        assert read.scribbles is None

    def test_scribbles_are_laid_over_each_other(self, store: LabelStore) -> None:
        store.scribble(A, drawn((0, 0, 0, 1), (1, 1, 1, 255), (2, 2, 2, 3)), HEART, "me")
        store.scribble(A, drawn((1, 1, 1, 2), (3, 4, 2, 255)), HEART, "you")
        read = store.read(A, HEART).scribbles
        assert read is not None
        assert read.dtype == np.uint8
        assert np.array_equal(read, drawn((0, 0, 0, 1), (1, 1, 1, 2), (2, 2, 2, 3), (3, 4, 2, 255)))

    def test_strokes_sent_again_are_not_written_again(self, store: LabelStore) -> None:
        first = store.scribble(A, drawn((0, 0, 0, 1), (1, 1, 1, 255)), TUMOR, "me")
        assert store.scribble(A, drawn((1, 1, 1, 255)).astype(np.int16), TUMOR, "me") == first
        assert store.revision() == first

    def test_scribbles_of_a_slice_are_erased_and_brought_back(self, store: LabelStore) -> None:
        first = store.scribble(A, drawn((0, 0, 0, 1), (1, 1, 1, 255)), TUMOR, "me")
        erased = store.erase(A, 1, TUMOR, "me")
        assert np.array_equal(store.read(A, TUMOR).scribbles, drawn((0, 0, 0, 1)))
        for index, labels in ((1, TUMOR), (0, HEART), (-1, TUMOR), (3, TUMOR)):
            with pytest.raises(WssegError, match=f"a, slice {index}: nothing is drawn, there is nothing to erase"):
                store.erase(A, index, labels, "me")
        assert store.revision() == erased
        store.erase(A, 0, TUMOR, "me")
        assert store.read(A, TUMOR).scribbles is None
        assert not store.summaries(TUMOR)["a", "a"].scribbles
        assert np.array_equal(store.read(A, TUMOR, first).scribbles, drawn((0, 0, 0, 1), (1, 1, 1, 255)))
        store.undo(store.scribble(A, drawn((2, 2, 2, 1)), TUMOR, "me"), "me")
        assert store.read(A, TUMOR).scribbles is None

    def test_text(self, store: LabelStore) -> None:
        store.describe(A, "  Masse temporale gauche :\n32\u00a0mm ", "me")
        assert store.read(A, TUMOR).text == "Masse temporale gauche :\n32\u00a0mm"
        cleared = store.describe(A, " \n", "me")
        assert store.read(A, TUMOR).text is None
        assert not store.summaries(TUMOR)["a", "a"].text
        store.undo(cleared, "me")
        assert store.text(A) == "Masse temporale gauche :\n32\u00a0mm"
        assert store.contents() == {"a": ["a"]}

    def test_what_was_known_earlier(self, store: LabelStore) -> None:
        then = store.describe(A, "one", "me")
        store.describe(A, "two", "me")
        store.mark(A, [Mark("tumor", 0, 1)], TUMOR, "me")
        store.scribble(A, drawn((0, 0, 0, 1)), TUMOR, "me")
        read = store.read(A, TUMOR, revision=then)
        assert (read.text, read.scribbles, read.presence.max()) == ("one", None, -1)
        assert store.read(A, TUMOR, revision=0).text is None

    def test_slices_along_different_axes(self, store: LabelStore) -> None:
        """A scan of equal spacing is cut by one model this way, by another that way."""
        store.mark(A, [Mark("tumor", 1, 1)], TUMOR, "me")
        across = scan("a", axis=0)
        store.mark(across, [Mark("tumor", 3, 0)], TUMOR, "me")
        assert store.read(A, TUMOR).presence.tolist() == [[-1, 1, -1]]
        assert store.read(across, TUMOR).presence.tolist() == [[-1, -1, -1, 0]]
        assert store.summaries(TUMOR)["a", "a"].labelled == 2
        with pytest.raises(WssegError, match="a, slice 4: the scan has slices 0 to 3"):
            store.mark(across, [Mark("tumor", 4, 0)], TUMOR, "me")
        store.scribble(A, drawn((1, 1, 1, 1), (2, 1, 1, 1)), TUMOR, "me")
        store.erase(across, 2, TUMOR, "me")
        assert np.array_equal(store.read(A, TUMOR).scribbles, drawn((1, 1, 1, 1)))

    def test_how_far_each_scan_is_labelled(self, store: LabelStore) -> None:
        store.mark(A, [Mark("RV", 0, 1), Mark("LV", 0, 0), Mark("RV", 2, 1), Mark("LV", 1, 1)], HEART, "me")
        store.mark(A, [Mark("LV", 1, -1)], HEART, "you")
        store.scribble(B, drawn((0, 0, 0, 1)), TUMOR, "me")
        store.undo(store.scribble(B, drawn((0, 0, 0, 1)), HEART, "me"), "me")
        store.describe(B, "one", "you")
        heart, tumor = store.summaries(HEART), store.summaries(TUMOR)
        known = [(each.labelled, each.scribbles, each.text) for each in (*heart.values(), *tumor.values())]
        assert known == [(2, False, False), (0, False, True), (0, False, False), (0, True, True)]
        assert [heart[case, case].annotator for case in store.contents()] == ["you", "you"]
        assert 0 <= (datetime.now(UTC) - heart["a", "a"].time).total_seconds() < 60

    def test_what_a_write_was_about(self, store: LabelStore) -> None:
        assert store.touched(store.mark(A, [Mark("RV", 0, 1), Mark("LV", 1, 0)], HEART, "me")) == ["a"]
        both = {scan("a", 1): np.array([[1]], np.int8), scan("b", 1): np.array([[0]], np.int8)}
        assert store.touched(store.fill(both, TUMOR, "me")) == ["a", "b"]
        assert store.touched(99) == []
        assert store.classes(A) == ["LV", "RV", "tumor"]
        assert store.classes(C) == []

    def test_it_is_there_when_opened_again(self, tmp_path: Path) -> None:
        home = tmp_path / "a new folder, 100 %?#"
        first = LabelStore.at(home, HERE)
        first.describe(A, "one", "me")
        first.close()
        assert LabelStore.at(home, HERE).read(A, TUMOR).text == "one"
        assert [path.name for path in home.iterdir() if path.suffix == ".sqlite3"] == [FILE]


class TestUndo:
    def test_everything_the_write_touched_and_nothing_else(self, store: LabelStore) -> None:
        store.mark(A, [Mark("RV", 0, 1), Mark("LV", 2, 1)], HEART, "me")
        second = store.mark(A, [Mark("RV", 0, 0), Mark("Myo", 1, 1)], HEART, "me")
        undone = store.undo(second, "me")
        assert undone == second + 1
        assert store.read(A, HEART).presence.tolist() == [[1, -1, -1], [-1] * 3, [-1, -1, 1]]
        store.undo(undone, "me")
        assert store.read(A, HEART).presence.tolist() == [[0, -1, -1], [-1, 1, -1], [-1, -1, 1]]

    def test_back_to_nothing_and_no_row_is_lost(self, store: LabelStore, tmp_path: Path) -> None:
        writes = [
            store.mark(A, [Mark("tumor", 0, 1)], TUMOR, "me"),
            store.scribble(A, drawn((0, 0, 0, 1)), TUMOR, "me"),
            store.scribble(A, drawn((1, 0, 0, 1)), TUMOR, "me"),
            store.describe(A, "one", "me"),
        ]
        for write in reversed(writes):
            store.undo(write, "me")
        read = store.read(A, TUMOR)
        assert (read.presence.max(), read.scribbles, read.text) == (-1, None, None)
        counts = "SELECT kind, count(*) FROM labels GROUP BY kind ORDER BY kind"
        assert rows(tmp_path, counts) == [("presence", 2), ("scribbles", 4), ("text", 2)]

    def test_not_what_somebody_else_has_written_over(self, store: LabelStore) -> None:
        marks = store.mark(A, [Mark("RV", 0, 1), Mark("RV", 1, 1)], HEART, "me")
        strokes = store.scribble(A, drawn((0, 0, 0, 1)), HEART, "me")
        store.mark(A, [Mark("RV", 1, 0)], HEART, "you")
        store.scribble(A, drawn((1, 0, 0, 1)), HEART, "you")
        for write in (marks, strokes):
            with pytest.raises(WssegError, match="a: you has written over this since"):
                store.undo(write, "me")
        assert store.revision() == 4

    def test_not_what_somebody_else_has_written(self, store: LabelStore) -> None:
        write = store.mark(A, [Mark("RV", 0, 1)], HEART, "me")
        with pytest.raises(WssegError, match=f"write {write} is of me, who alone can undo it"):
            store.undo(write, "you")
        assert store.revision() == write

    @pytest.mark.parametrize("revision", [-(2**70), -1, 0, 2, 2**31, 2**63 - 1, 2**63, 10**40])
    def test_no_such_write(self, store: LabelStore, revision: int) -> None:
        store.describe(A, "one", "me")
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
            store.mark(A, [Mark("LV", 1, 1), *marks] if marks else marks, HEART, "me")
        assert store.revision() == 0
        assert store.contents() == {}

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
            store.scribble(A, voxels, HEART, "me")
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
            store.describe(A, text, "me")
        assert store.revision() == 0

    @pytest.mark.parametrize("name", ["", " ", "x" * 256, "a\nb", "a\x00", "\ud800"])
    def test_names(self, store: LabelStore, name: str) -> None:
        with pytest.raises(WssegError, match="the name of the scan") as caught:
            store.describe(scan(name), "one", "me")
        assert "\n" not in str(caught.value)
        with pytest.raises(WssegError, match="the name of the annotator"):
            store.describe(A, "one", name)
        assert store.revision() == 0

    @pytest.mark.parametrize("name", ["../a", "a\\b"])
    def test_a_scan_named_like_a_path(self, store: LabelStore, name: str) -> None:
        with pytest.raises(WssegError, match="holds a character that no name may have"):
            store.mark(scan(name), [Mark("tumor", 0, 1)], TUMOR, "me")
