"""The weak labels of a server's scans: checked, shown to MONAI Label, and written out for training."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from conftest import MakePackage
from wsseg.data.kinds.registry import KINDS
from wsseg.data.phantom import make_phantom
from wsseg.errors import NotFoundError, WssegError
from wsseg.images.folder import scan_files
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.table import read_volume
from wsseg.labels.database.engine import open_store
from wsseg.labels.database.store import LabelStore
from wsseg.labels.drawn.drawing import Drawing, Tool
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.marks import BoxMark
from wsseg.labels.project import Project
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import read_presence
from wsseg.labels.values import Mark
from wsseg.models.package import ModelPackage
from wsseg.server.studies.finished import FinishedMask, mask_values
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.snapshot import write_snapshot
from wsseg.server.studies.studies import Studies

SLICES = 8
HEART = ("RV", "LV")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    for seed in range(3):
        scan, _ = make_phantom(seed, size=64)
        write_nifti(folder / f"head_{seed}.nii.gz", scan.voxels, scan.affine)
    nib.save(nib.Nifti1Image(np.zeros((6, 20, 20), np.uint8), np.diag([5.0, 1, 1, 1])), folder / "otherwise.nii.gz")
    (folder / "damaged.nii.gz").write_text("not an image", encoding="utf-8")
    return folder


@pytest.fixture
def labels(studies: Path, tmp_path: Path) -> Iterator[Labels]:
    store = LabelStore.at(tmp_path / "home", Project.of_folder(studies))
    yield Labels(store, Studies(ScanFolder(studies)))
    store.close()


@pytest.fixture
def heart(make_package: MakePackage) -> ModelPackage:
    return make_package("cam", labels=HEART)


def mask_file(studies: Path, path: Path, *voxels: tuple[int, int, int, int]) -> Path:
    scan = nib.load(studies / "head_0.nii.gz")
    drawn = np.zeros(scan.shape, np.uint8)
    for x, y, index, value in voxels:
        drawn[x, y, index] = value
    nib.save(nib.Nifti1Image(drawn, scan.affine), path)
    return path


class TestStudies:
    def test_grid_without_voxels(self, labels: Labels, studies: Path, heart: ModelPackage) -> None:
        grid, scan = labels.studies.grid("head_1"), read_volume(studies / "head_1.nii.gz")
        assert grid.voxels.shape == scan.voxels.shape
        assert np.array_equal(grid.affine, scan.affine)
        assert not grid.voxels.any()
        assert [labels.studies.suitability(name, heart.recipe).slices for name in labels.studies.names()] == [
            None,
            *[SLICES] * 3,
            6,
        ]

    def test_a_scan_that_is_replaced(self, labels: Labels, studies: Path, heart: ModelPackage) -> None:
        labels.studies.grid("head_1")
        nib.save(nib.Nifti1Image(np.zeros((9, 9, 5), np.uint8), np.eye(4)), studies / "head_1.nii.gz")
        assert labels.studies.suitability("head_1", heart.recipe).slices == 5

    def test_unknown_and_damaged(self, labels: Labels, studies: Path) -> None:
        with pytest.raises(NotFoundError, match='scan "nothing" is unknown'):
            labels.studies.grid("nothing")
        with pytest.raises(WssegError, match=r"^damaged: cannot be read as an image, its gzip is damaged or cut off"):
            labels.studies.grid("damaged")
        (studies / "head_2.nii.gz").unlink()
        with pytest.raises(NotFoundError, match='scan "head_2" is unknown'):
            labels.studies.grid("head_2")


class TestWrites:
    def test_are_mirrored_in_monai_labels_image_info(self, labels: Labels, heart: ModelPackage) -> None:
        labels.mark("head_0", [Mark("LV", 0, 1), Mark("RV", 7, 0)], heart, "me")
        labels.describe("head_0", "One sentence.", "me")
        wrong = labels.mark("head_0", [Mark("LV", 0, 0)], heart, "me")
        assert labels.undo(wrong, "me") == (wrong + 1, ["head_0"])
        info = labels.studies.datastore.get_image_info("head_0")["wsseg"]
        assert info["text"] == "One sentence."
        assert info["presence"] == {"LV": [1, *[None] * 7], "RV": [*[None] * 7, 0]}

    def test_hold_where_the_mirror_fails(
        self, labels: Labels, heart: ModelPackage, studies: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (studies / ".lock").unlink(missing_ok=True)
        (studies / ".lock").mkdir()
        labels.mark("head_0", [Mark("LV", 0, 1)], heart, "me")
        assert labels.read("head_0", heart).presence[1, 0] == 1
        assert "labels are stored, but MONAI Label's copy of them is not up to date" in caplog.text
        assert "head_0" not in caplog.text

    def test_of_slices_that_are_stored_first(self, labels: Labels, heart: ModelPackage) -> None:
        labels.mark("otherwise", [Mark("LV", 5, 1)], heart, "me")
        assert labels.read("otherwise", heart).presence[1].tolist() == [-1] * 5 + [1]
        assert labels.studies.datastore.get_image_info("otherwise")["wsseg"]["slice_axis"] == 0
        with pytest.raises(WssegError, match="otherwise, slice 6: the scan has slices 0 to 5"):
            labels.mark("otherwise", [Mark("LV", 6, 1)], heart, "me")

    def test_of_unknown_scans(self, labels: Labels, heart: ModelPackage) -> None:
        for write in (
            lambda: labels.mark("nothing", [Mark("LV", 0, 1)], heart, "me"),
            lambda: labels.describe("nothing", "one", "me"),
            lambda: labels.scribble("nothing", np.ones((2, 2, 2)), heart.labels, "me"),
        ):
            with pytest.raises(NotFoundError, match='scan "nothing" is unknown'):
                write()
        assert labels.store.contents() == {}


class TestFinishedMasks:
    def test_present_where_drawn_and_unknown_elsewhere(
        self, labels: Labels, heart: ModelPackage, studies: Path, tmp_path: Path
    ) -> None:
        labels.mark("head_0", [Mark("LV", 0, 0), Mark("LV", 1, 1), Mark("LV", 2, 0), Mark("RV", 5, 1)], heart, "me")
        file = mask_file(studies, tmp_path / "m.nii.gz", (1, 1, 2, 2), (1, 1, 3, 2), (1, 1, 4, 1))
        mask = FinishedMask.read(
            "head_0", file, {"label_info": [{"name": "clip"}, {"name": "LV"}]}, labels.studies.grid("head_0")
        )
        assert labels.complete("head_0", mask, {*HEART, "tumor"}, "you") is not None
        lv, rv = [0, None, 1, 1, None, None, None, None], [*[None] * 5, 1, None, None]
        assert labels.studies.datastore.get_image_info("head_0")["wsseg"]["presence"] == {"LV": lv, "RV": rv}
        assert labels.complete("head_0", mask, HEART, "you") is None
        assert labels.complete("head_0", mask, ["tumor"], "you") is None

    def test_values_follow_the_order_of_segments(self) -> None:
        assert mask_values({}) == {}
        assert mask_values({"label_info": [{"name": "a", "idx": 2}, {"name": "b", "idx": 5}]}) == {"a": 1, "b": 2}
        assert mask_values({"label_info": [{"name": "b", "idx": 2}, {"name": "a", "idx": 1}]}) == {"a": 1, "b": 2}


class TestSnapshot:
    def test_is_what_training_reads(self, labels: Labels, heart: ModelPackage, studies: Path, tmp_path: Path) -> None:
        labels.mark("head_0", [Mark("LV", 0, 1), Mark("RV", 7, 0)], heart, "me")
        strokes = np.zeros((64, 64, SLICES), np.uint8)
        strokes[3, 4, 5], strokes[6, 7, 1] = 2, 255
        labels.scribble("head_1", strokes, heart.labels, "me")
        labels.describe("head_1", 'A "mass", left.', "me")
        file = mask_file(studies, tmp_path / "m.nii.gz", (1, 1, 2, 1), (1, 1, 3, 2))
        info = {"label_info": [{"name": "LV", "idx": 1}, {"name": "RV", "idx": 2}]}
        labels.studies.datastore.save_label("head_2", str(file), "final", info)
        data = tmp_path / "data"
        assert write_snapshot(labels, data, heart) == 3
        assert {path.name for path in data.iterdir()} == {
            *(f"head_{index}.nii.gz" for index in range(3)),
            *("image_labels.csv", "text.csv", "head_1_scribble.nii.gz", "head_2_label.nii.gz"),
        }
        presence = read_presence(data / "image_labels.csv", heart.labels)
        assert {case: listed.states.tolist() for case, listed in presence.items()} == {
            "head_0": [[-1] * 7 + [0], [1] + [-1] * 7]
        }
        assert np.array_equal(read_volume(data / "head_1_scribble.nii.gz").voxels, strokes)
        with (data / "text.csv").open(newline="", encoding="utf-8") as rows:
            assert list(csv.reader(rows)) == [["case", "text"], ["head_1", 'A "mass", left.']]
        mask = read_volume(data / "head_2_label.nii.gz").voxels
        assert (mask[1, 1, 2], mask[1, 1, 3], np.count_nonzero(mask)) == (2, 1, 2)

    def test_leaves_out_masks_that_do_not_say_where_every_class_is(
        self, labels: Labels, heart: ModelPackage, make_package: MakePackage, studies: Path, tmp_path: Path
    ) -> None:
        file = mask_file(studies, tmp_path / "m.nii.gz", (1, 1, 2, 1))
        info = {"label_info": [{"name": "LV", "idx": 1}, {"name": "clip", "idx": 2}]}
        labels.studies.datastore.save_label("head_0", str(file), "final", info)
        labels.mark("head_0", [Mark("LV", 2, 1)], heart, "me")
        write_snapshot(labels, tmp_path / "both", heart)
        assert not (tmp_path / "both" / "head_0_label.nii.gz").exists()
        write_snapshot(labels, tmp_path / "one", make_package("cam", "other", labels=("LV",)))
        assert read_volume(tmp_path / "one" / "head_0_label.nii.gz").voxels.sum() == 1

    def test_holds_when_scans_are_removed_afterwards(
        self, labels: Labels, heart: ModelPackage, studies: Path, tmp_path: Path
    ) -> None:
        labels.mark("head_0", [Mark("LV", 0, 1)], heart, "me")
        expected = read_volume(studies / "head_0.nii.gz").voxels
        write_snapshot(labels, tmp_path / "data", heart)
        (studies / "head_0.nii.gz").unlink()
        assert np.array_equal(read_volume(tmp_path / "data" / "head_0.nii.gz").voxels, expected)

    def test_on_another_disk(self, labels: Labels, heart: ModelPackage) -> None:
        data = Path("/dev/shm/wsseg-test-snapshot")
        if not data.parent.is_dir():
            pytest.skip("there is no /dev/shm, a second file system")
        labels.mark("head_0", [Mark("LV", 0, 1)], heart, "me")
        try:
            write_snapshot(labels, data, heart)
            assert read_volume(data / "head_0.nii.gz").voxels.any()
        finally:
            shutil.rmtree(data)

    def test_leaves_out_what_cannot_be_used(
        self, labels: Labels, heart: ModelPackage, make_package: MakePackage, studies: Path, tmp_path: Path
    ) -> None:
        labels.mark("head_0", [Mark("LV", 0, 1)], heart, "me")
        labels.store.mark(ScanIdentity("elsewhere", "x", (1, 1, 20)), [Mark("LV", 0, 1)], heart.labels, "me")
        labels.mark("head_1", [Mark("tumor", 0, 1)], make_package("cam", "other"), "me")
        small = mask_file(studies, tmp_path / "small.nii.gz")
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), small)
        labels.studies.datastore.save_label("head_2", str(small), "final", {"label_info": [{"name": "LV"}]})
        assert write_snapshot(labels, tmp_path / "data", heart) == 1
        assert {path.name for path in (tmp_path / "data").iterdir()} == {
            "head_0.nii.gz",
            "image_labels.csv",
            "text.csv",
        }

    def test_holds_what_is_drawn_as_training_reads_it(
        self, labels: Labels, heart: ModelPackage, tmp_path: Path
    ) -> None:
        def drawn(tool: Tool, label: str, axis: int = 2) -> Drawing:
            points = ((5.0, 6.0), (9.0, 8.0))[: 1 if tool == Tool.POINT else 2]
            id = f"{tool}-{label}-0"
            return Drawing(id=id, tool=tool, label=label, classes=HEART, axis=axis, slice=3, points=points)

        strokes = [drawn(Tool.STROKE, "RV"), drawn(Tool.BRUSH, "background")]
        labels.draw("head_0", [*strokes, drawn(Tool.BOX, "LV"), drawn(Tool.POINT, "LV")], (), heart, "me")
        labels.draw("otherwise", [drawn(Tool.BOX, "LV", axis=0)], (), heart, "me")
        assert write_snapshot(labels, tmp_path / "data", heart) == 2
        data, scans = tmp_path / "data", scan_files(tmp_path / "data")
        assert list(scans) == ["head_0", "otherwise"]
        held = {name: kind.in_folder(data, scans, heart.labels) for name, kind in KINDS.items()}
        assert {name: list(cases) for name, cases in held.items() if cases} == {
            **{"corrections": ["head_0"], "points": ["head_0"]},
            "boxes": ["head_0", "otherwise"],
        }
        assert held["boxes"]["otherwise"] == [BoxMark(2, 3, 5, 6, 9, 8, axis=0)]
        correction = read_volume(held["corrections"]["head_0"])
        assert np.unique(correction.voxels).tolist() == [0, 255]
        labels.undo(labels.draw("head_0", [], [strokes[1].id], heart, "me"), "me")

    def test_of_nothing(self, labels: Labels, heart: ModelPackage, tmp_path: Path) -> None:
        labels.undo(labels.describe("head_0", "one", "me"), "me")
        with pytest.raises(WssegError, match="no scan is labelled with RV or LV yet"):
            write_snapshot(labels, tmp_path / "data", heart)


def test_a_database_for_several_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSSEG_LABELS", f"sqlite:///{tmp_path / 'shared.sqlite3'}")
    project, scan = Project("one", "file:///one"), ScanIdentity("a", "a", (1, 1, 1))
    store = open_store(project)
    store.describe(scan, "one", "me")
    store.close()
    other = LabelStore(f"sqlite:///{tmp_path / 'shared.sqlite3'}", project)
    assert other.read(scan, LabelSpace(HEART)).text == "one"
    other.close()
