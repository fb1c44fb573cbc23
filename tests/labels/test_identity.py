"""Which project and which scan labels belong to, and what becomes of those of earlier versions."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.errors import WssegError
from wsseg.labels.database.store import FILE as DATABASE
from wsseg.labels.database.store import LabelStore
from wsseg.labels.exchange import Files, export_labels, import_labels
from wsseg.labels.identity import ScanIdentity, content_of, hash_of
from wsseg.labels.project import FILE, Project
from wsseg.labels.space import LabelSpace
from wsseg.labels.values import Mark, pack_voxels

TUMOR = LabelSpace(("tumor",))

FORMAT_1 = """
CREATE TABLE store (format INTEGER PRIMARY KEY);
CREATE TABLE writes (serial INTEGER PRIMARY KEY, annotator VARCHAR(255) NOT NULL, time DATETIME NOT NULL);
CREATE TABLE presence (scan VARCHAR(255), label VARCHAR(64), slice INTEGER, serial INTEGER REFERENCES writes (serial),
    state SMALLINT NOT NULL, PRIMARY KEY (scan, label, slice, serial));
CREATE TABLE scribbles (scan VARCHAR(255), serial INTEGER REFERENCES writes (serial), labels TEXT NOT NULL,
    voxels BLOB, PRIMARY KEY (scan, serial));
CREATE TABLE texts (scan VARCHAR(255), serial INTEGER REFERENCES writes (serial), text TEXT,
    PRIMARY KEY (scan, serial));
INSERT INTO store VALUES (1);
"""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSEG_HOME", str(tmp_path / "home"))


def write(file: Path, shape: tuple[int, int, int] = (6, 5, 4), seed: int = 0) -> Path:
    file.parent.mkdir(exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 5.0, 1.0])), file)
    return file


def old_database(home: Path, marks: int = 1) -> None:
    """As the version before left it: one scan with every kind of label, and one with many marks."""
    home.mkdir(exist_ok=True)
    with sqlite3.connect(home / DATABASE) as connection:
        connection.executescript(FORMAT_1)
        for serial in range(1, 6):
            connection.execute("INSERT INTO writes VALUES (?, 'ada', '2026-01-02 03:04:05')", (serial,))
        presence = [("a", "tumor", 1, 1, 1), ("a", "tumor", 2, 1, 0), ("a", "tumor", 1, 5, -1)]
        presence += [("many", "tumor", index, 2, 1) for index in range(marks)]
        connection.executemany("INSERT INTO presence VALUES (?, ?, ?, ?, ?)", presence)
        strokes = np.zeros((6, 5, 4), np.uint8)
        strokes[1, 2, 3] = 1
        connection.execute(
            "INSERT INTO scribbles VALUES ('a', 3, ?, ?)", (json.dumps(TUMOR.names), pack_voxels(strokes))
        )
        connection.execute("INSERT INTO texts VALUES ('a', 4, ?)", ("Links \\ Zoë",))
    connection.close()


class TestScan:
    def test_the_same_voxels_whatever_the_file(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.nii.gz")
        first = content_of(file)
        image = nib.load(file)
        for name, kind in (("b.nii", np.int16), ("c.nii.gz", np.float32)):
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj).astype(kind), image.affine), tmp_path / name)
            assert content_of(tmp_path / name) == first
        assert content_of(write(tmp_path / "d.nii.gz", seed=1)) != first
        moved = image.affine.copy()
        moved[0, 3] += 1
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), moved), tmp_path / "e.nii.gz")
        assert content_of(tmp_path / "e.nii.gz") != first

    def test_the_hash_stays_what_it_is(self) -> None:
        """Another one would part every label that is kept from its scan."""
        from wsseg.images.volume import Volume

        voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        scan = Volume(voxels, np.diag([1.0, 1.0, 5.0, 1.0]))
        assert hash_of(scan) == "e999fc6fad200174725b1211d8477ef0d3554a24a805f193402940007cc45009"

    def test_a_file_is_read_once_and_again_when_it_has_changed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write(tmp_path / "a.nii.gz")
        first = content_of(file)
        monkeypatch.setattr("wsseg.labels.identity.read_volume", lambda path: pytest.fail("it was read again"))
        assert content_of(file) == first
        monkeypatch.undo()
        monkeypatch.setenv("WSSEG_HOME", str(tmp_path / "home"))
        assert content_of(write(file, seed=1)) != first


class TestProject:
    def test_goes_with_its_folder(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        one, two = (Project.of_folder(tmp_path / name) for name in ("one", "two"))
        assert one.id != two.id
        (tmp_path / "one").rename(tmp_path / "moved")
        assert Project.of_folder(tmp_path / "moved").id == one.id
        assert [path.name for path in (tmp_path / "moved").iterdir()] == [FILE]

    def test_of_a_folder_that_cannot_be_written_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*args: object) -> None:
            raise PermissionError

        write(tmp_path / "one" / "a.nii.gz")
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", refused)
            known = Project.of_folder(tmp_path / "one")
        assert known.id == (tmp_path / "one").resolve().as_uri()
        scan = ScanIdentity.of("a", tmp_path / "one" / "a.nii.gz")
        LabelStore.at(tmp_path, known).describe(scan, "one", "ada")
        writable = Project.of_folder(tmp_path / "one")
        assert writable.id != known.id
        assert LabelStore.at(tmp_path, writable).text(scan) == "one"

    @pytest.mark.parametrize("content", ["", "{}", "[]", '{"project": 3}', '{"project": "x"}', "\x00"])
    def test_a_damaged_file_is_named(self, tmp_path: Path, content: str) -> None:
        (tmp_path / FILE).write_text(content, encoding="utf-8")
        with pytest.raises(WssegError, match=r"\.wsseg\.json: is damaged, bring it back"):
            Project.of_folder(tmp_path)

    def test_of_an_archive(self) -> None:
        assert Project.of_archive("https://me:secret@Pacs.org/dicom-web/").id == "https://pacs.org/dicom-web"


class TestWhoseLabels:
    def test_two_folders_with_scans_of_one_name_share_nothing(self, tmp_path: Path) -> None:
        one, two = (write(tmp_path / name / "case01.nii.gz") for name in ("one", "two"))
        stores = [LabelStore.at(tmp_path, Project.of_folder(file.parent)) for file in (one, two)]
        scans = [ScanIdentity.of("case01", file) for file in (one, two)]
        revision = stores[0].mark(scans[0], [Mark("tumor", 1, 1)], TUMOR, "ada")
        assert stores[1].read(scans[1], TUMOR).presence.max() == -1
        assert stores[1].contents() == {}
        with pytest.raises(WssegError, match="there is no write 1"):
            stores[1].undo(revision, "ada")

    def test_a_scan_that_is_replaced_and_comes_back(self, tmp_path: Path) -> None:
        file = write(tmp_path / "one" / "a.nii.gz")
        store, first = LabelStore.at(tmp_path, Project.of_folder(file.parent)), ScanIdentity.of("a", file)
        store.mark(first, [Mark("tumor", 3, 1)], TUMOR, "ada")
        fewer = ScanIdentity.of("a", write(file, (6, 5, 2)))
        assert store.adopt(fewer, lambda name: False) is None
        assert store.read(fewer, TUMOR).presence.tolist() == [[-1, -1]]
        assert store.read(ScanIdentity.of("a", write(file)), TUMOR).presence.tolist() == [[-1, -1, -1, 1]]

    def test_a_scan_that_is_renamed_keeps_them_and_a_copy_has_its_own(self, tmp_path: Path) -> None:
        file = write(tmp_path / "one" / "a.nii.gz")
        store, first = LabelStore.at(tmp_path, Project.of_folder(file.parent)), ScanIdentity.of("a", file)
        store.describe(first, "one", "ada")
        other = ScanIdentity("b", first.content, first.shape, first.axis)
        assert store.adopt(other, lambda name: name == "a") is None
        assert store.text(other) is None
        assert store.adopt(other, lambda name: False) == "a"
        assert (store.text(other), store.text(first)) == ("one", None)


class TestEarlierVersions:
    def test_every_label_goes_to_the_first_project_with_a_scan_that_fits(self, tmp_path: Path) -> None:
        old_database(tmp_path)
        fits, wrong = write(tmp_path / "one" / "a.nii.gz"), write(tmp_path / "two" / "a.nii.gz", (6, 5, 3))
        two = LabelStore.at(tmp_path, Project.of_folder(wrong.parent))
        assert two.adopt(ScanIdentity.of("a", wrong), lambda name: False) is None
        one, scan = LabelStore.at(tmp_path, Project.of_folder(fits.parent)), ScanIdentity.of("a", fits)
        assert one.waiting() == {"a", "many"}
        assert one.read(scan, TUMOR).text is None, "nothing is applied before it was adopted"
        assert one.adopt(scan, lambda name: False) == "a"
        read = one.read(scan, TUMOR)
        assert read.presence.tolist() == [[-1, -1, 0, -1]]
        assert one.read(scan, TUMOR, revision=1).presence.tolist() == [[-1, 1, 0, -1]]
        assert read.text == "Links \\ Zoë"
        assert read.scribbles is not None
        assert np.argwhere(read.scribbles).tolist() == [[1, 2, 3]]
        assert two.adopt(ScanIdentity.of("a", fits), lambda name: False) is None, "they have an owner now"
        assert one.waiting() == {"many"}
        one.undo(5, "ada")
        assert one.read(scan, TUMOR).presence.tolist() == [[-1, 1, 0, -1]]

    def test_a_kill_leaves_all_of_the_old_or_all_of_the_new(self, tmp_path: Path) -> None:
        marks = 60_000
        old_database(tmp_path, marks)
        code = (
            "import sys; from pathlib import Path; from wsseg.labels.project import Project; "
            "from wsseg.labels.database.store import LabelStore; print('go', flush=True); "
            "LabelStore.at(Path(sys.argv[1]), Project('one', 'file:///one'))"
        )
        for delay in (0.0, 0.05, 0.1, 0.2, 0.4):
            command = [sys.executable, "-c", code, str(tmp_path)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
            assert process.stdout is not None
            assert process.stdout.readline() == "go\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
            with sqlite3.connect(tmp_path / DATABASE) as connection:
                (found,) = connection.execute("SELECT format FROM store").fetchone()
                table = {1: "presence", 2: "labels WHERE kind = 'presence'"}[found]
                assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (marks + 3,)
            connection.close()
        assert LabelStore.at(tmp_path, Project("one", "file:///one")).waiting() == {"a", "many"}


class TestFiles:
    def test_there_and_back_along_the_axis_of_each_scan(self, tmp_path: Path) -> None:
        folder = tmp_path / "one"
        write(folder / "a.nii.gz")
        voxels = np.asarray(nib.load(folder / "a.nii.gz").dataobj).transpose(2, 0, 1)
        nib.save(nib.Nifti1Image(voxels, np.diag([5.0, 1.0, 1.0, 1.0])), folder / "first.nii.gz")
        files = Files({case: folder / f"{case}.nii.gz" for case in ("a", "first")})
        store = LabelStore.at(tmp_path, Project.of_folder(folder))
        for case in files.scans:
            store.mark(files.identity(case), [Mark("tumor", 3, 1)], TUMOR, "ada")
        strokes = np.zeros((6, 5, 4), np.uint8)
        strokes[0, 1, 2] = 255
        store.scribble(files.identity("a"), strokes, TUMOR, "ada")
        assert export_labels(store, tmp_path / "out", files, TUMOR) == ["image_labels.csv", "a_scribble.nii.gz"]
        table = (tmp_path / "out" / "image_labels.csv").read_text("utf-8").split()
        assert {"a,3,k,1", "first,3,i,1"} < set(table)
        other = LabelStore.at(tmp_path / "other", store.project)
        assert import_labels(other, tmp_path / "out", files, TUMOR, "bo").left_out == []
        for case in files.scans:
            scan = files.identity(case)
            assert np.array_equal(other.read(scan, TUMOR).presence, store.read(scan, TUMOR).presence)
        assert np.array_equal(other.read(files.identity("a"), TUMOR).scribbles, strokes)

    def test_what_fits_is_taken_and_the_rest_is_told(self, tmp_path: Path) -> None:
        folder, source = tmp_path / "one", tmp_path / "source"
        write(folder / "a.nii.gz")
        write(folder / "b.nii.gz", seed=1)
        write(source / "b_scribble.nii.gz", (6, 5, 3))
        files = Files({case: folder / f"{case}.nii.gz" for case in ("a", "b")})
        store = LabelStore.at(tmp_path, Project.of_folder(folder))
        (source / "image_labels.csv").write_text("case,slice,tumor\na,1,1\nb,4,1\nelsewhere,0,1\n", encoding="utf-8")
        result = import_labels(store, source, files, TUMOR, "ada")
        assert result.taken == ["image_labels.csv"]
        assert [("b has 4 slices" in s, "no scan elsewhere" in s, "another grid" in s) for s in result.left_out] == [
            (True, False, False),
            (False, True, False),
            (False, False, True),
        ]
        assert store.read(files.identity("a"), TUMOR).presence.tolist() == [[-1, 1, -1, -1]]
        assert store.contents().keys() == {"a"}
        (source / "image_labels.csv").write_text("case,slice,tumor\nelsewhere,0,1\n", encoding="utf-8")
        with pytest.raises(WssegError, match="nothing could be taken over: there is no scan elsewhere"):
            import_labels(store, source, files, TUMOR, "ada")
