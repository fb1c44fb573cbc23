"""Public releases to our layout: the real sample of each, and small ones made up by the same rules."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from releases import RNG, make_acdc, make_brats, make_kaggle, make_monuseg, noise, run, save, voxels
from wsseg.data.importers import IMPORTERS
from wsseg.data.importers.brats import tumour_presence
from wsseg.data.importers.monuseg import fill, read_outlines
from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.preprocess import View
from wsseg.data.slices import load_slices
from wsseg.errors import WssegError
from wsseg.images.formats.table import read_volume
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import PRESENCE_FILE, read_presence

TUMOR = LabelSpace(("tumor",))


def same_file(imported: Path, expected: Path) -> None:
    """Same voxels, type and affine, bit for bit."""
    ours, theirs = nib.load(imported), nib.load(expected)
    assert ours.get_data_dtype() == theirs.get_data_dtype()
    assert np.array_equal(voxels(imported), voxels(expected))
    assert ours.affine.tobytes() == theirs.affine.tobytes()


class TestRealSamples:
    def test_kaggle_3m(self, shared: Path, tmp_path: Path) -> None:
        assert run("kaggle-3m", shared / "raw" / "kaggle_3m", tmp_path) == 1
        case = "TCGA_CS_4943_20000902"
        same_file(tmp_path / f"{case}.nii.gz", shared / "lgg" / "val" / f"{case}.nii.gz")
        same_file(tmp_path / f"{case}_label.nii.gz", shared / "lgg" / "val" / f"{case}_label.nii.gz")
        expected = read_presence(shared / "lgg" / "val" / PRESENCE_FILE, TUMOR)[case].states
        assert np.array_equal(read_presence(tmp_path / PRESENCE_FILE, TUMOR)[case].states, expected)
        assert load_slices(tmp_path, TUMOR, View(32), (PRESENCE,)).images.shape == (20, 1, 32, 32)

    def test_acdc(self, shared: Path, tmp_path: Path) -> None:
        assert run("acdc", shared / "raw" / "acdc", tmp_path) == 1
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"patient071_frame01.nii.gz", "patient071_frame01_label.nii.gz"}
        for name in names:
            same_file(tmp_path / name, shared / "acdc" / "val" / name)

    def test_monuseg(self, shared: Path, tmp_path: Path) -> None:
        assert run("monuseg", shared / "raw" / "monuseg", tmp_path) == 1
        tile = "TCGA-E2-A1B5-01Z-00-DX1"
        released = np.asarray(Image.open(shared / "raw" / "monuseg" / "Tissue Images" / f"{tile}.tif"))
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"{tile}.png")), released)
        label = np.asarray(Image.open(tmp_path / f"{tile}_label.png"))
        assert set(np.unique(label)) == {0, 255}
        expected = np.asarray(Image.open(shared / "monuseg" / "val" / f"{tile}_label.png"))
        overlap = np.logical_and(label, expected).sum()
        assert 2 * overlap / (np.count_nonzero(label) + np.count_nonzero(expected)) > 0.995


class TestKaggle3m:
    def test_layout(self, tmp_path: Path) -> None:
        folder = make_kaggle(tmp_path / "release")
        (tmp_path / "release" / "data.csv").write_text("Patient,age\n", encoding="utf-8")
        run("kaggle-3m", tmp_path / "release", tmp_path / "out")
        scan = read_volume(tmp_path / "out" / f"{folder.name}.nii.gz")
        label = voxels(tmp_path / "out" / f"{folder.name}_label.nii.gz")
        assert scan.voxels.shape == label.shape == (5, 6, 12)
        assert scan.voxels[0, 0].tolist() == list(range(1, 13)), "slices must be in numeric order"
        assert np.argwhere(label).tolist() == [[3, 2, 2], [3, 2, 10]]
        assert label.max() == 1
        assert nib.aff2axcodes(scan.affine) == ("L", "P", "S")
        assert scan.spacing == (1, 1, 5)
        presence = read_presence(tmp_path / "out" / PRESENCE_FILE, TUMOR)[folder.name].states
        assert np.flatnonzero(presence[0]).tolist() == [2, 10]

    @pytest.mark.parametrize(("slices", "kept"), [(40, range(1, 41)), (41, range(1, 42, 2)), (88, range(1, 89, 2))])
    def test_long_scans_keep_every_other_slice(self, tmp_path: Path, slices: int, kept: range) -> None:
        folder = make_kaggle(tmp_path / "release", slices=slices)
        run("kaggle-3m", tmp_path / "release", tmp_path / "out")
        assert voxels(tmp_path / "out" / f"{folder.name}.nii.gz")[0, 0].tolist() == list(kept)
        presence = read_presence(tmp_path / "out" / PRESENCE_FILE, TUMOR)[folder.name].states
        assert [kept[k] for k in np.flatnonzero(presence[0])] == [3, 11]

    def test_a_folder_takes_several_imports(self, tmp_path: Path) -> None:
        make_kaggle(tmp_path / "a", "TCGA_A")
        make_kaggle(tmp_path / "b", "TCGA_B")
        for release in ("a", "b", "a"):
            run("kaggle-3m", tmp_path / release, tmp_path / "out")
        assert list(read_presence(tmp_path / "out" / PRESENCE_FILE, TUMOR)) == ["TCGA_A", "TCGA_B"]


class TestACDC:
    def test_voxel_size_comes_from_the_header(self, tmp_path: Path) -> None:
        scan = make_acdc(tmp_path / "release")
        run("acdc", tmp_path / "release", tmp_path / "out")
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
            "patient007_frame01.nii.gz",
            "patient007_frame01_label.nii.gz",
        ]
        imported = read_volume(tmp_path / "out" / "patient007_frame01.nii.gz")
        assert np.array_equal(imported.voxels, scan)
        assert np.array_equal(np.diag(imported.affine), [-1.5, -1.25, 10, 1])
        label = read_volume(tmp_path / "out" / "patient007_frame01_label.nii.gz")
        assert np.array_equal(label.affine, imported.affine)

    def test_scribbles_take_our_values(self, tmp_path: Path) -> None:
        released = RNG.integers(0, 5, (6, 5, 4)).astype("uint8")
        make_acdc(tmp_path / "release", released)
        run("acdc", tmp_path / "release", tmp_path / "out")
        ours = voxels(tmp_path / "out" / "patient007_frame01_scribble.nii.gz")
        assert ours.dtype == np.uint8
        for theirs, value in {0: 255, 1: 1, 2: 2, 3: 3, 4: 0}.items():
            assert (ours[released == theirs] == value).all()
        assert set(np.unique(ours)) == {0, 1, 2, 3, 255}


class TestBraTS:
    @pytest.mark.parametrize(
        ("case", "scan", "seg"),
        [("BraTS2021_00000", "_flair", "_seg"), ("BraTS-GLI-00000-000", "-t2f", "-seg")],
    )
    def test_flair_and_whole_tumour(self, tmp_path: Path, case: str, scan: str, seg: str) -> None:
        mask = RNG.choice([0, 1, 2, 4], (20, 20, 4)).astype("uint8")
        flair = make_brats(tmp_path / "release", case + scan, case + seg, mask)
        assert run("brats", tmp_path / "release", tmp_path / "out") == 1
        assert np.array_equal(voxels(tmp_path / "out" / f"{case}.nii.gz"), flair)
        assert np.array_equal(voxels(tmp_path / "out" / f"{case}_label.nii.gz"), mask > 0)

    def test_presence_is_unknown_where_there_is_little_tumour(self, tmp_path: Path) -> None:
        mask = np.zeros((20, 20, 4), np.uint8)  # 1 % are 4 pixels
        mask[:5, 0, 1], mask[:4, 0, 2], mask[0, 0, 3] = 4, 2, 1
        make_brats(tmp_path / "release", "BraTS2021_00000_flair", "BraTS2021_00000_seg", mask)
        run("brats", tmp_path / "release", tmp_path / "out")
        text = (tmp_path / "out" / PRESENCE_FILE).read_text("utf-8").split()
        assert text[1:] == [f"BraTS2021_00000,{row}" for row in ("0,k,0", "1,k,1", "2,k,", "3,k,")]
        assert tumour_presence(mask > 0).tolist() == [[0, 1, -1, -1]]

    def test_a_case_without_mask_gives_a_scan_alone(self, tmp_path: Path) -> None:
        make_brats(tmp_path / "release", "BraTS2021_00001_flair", "", np.zeros((4, 4, 4)))
        run("brats", tmp_path / "release", tmp_path / "out")
        assert read_presence(tmp_path / "out" / PRESENCE_FILE, TUMOR) == {}
        assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == ["BraTS2021_00001.nii.gz"]


class TestMoNuSeg:
    @pytest.mark.parametrize("flat", [False, True], ids=["training release", "test release"])
    @pytest.mark.parametrize("suffix", [".tif", ".png"])
    def test_layout(self, tmp_path: Path, flat: bool, suffix: str) -> None:
        picture = make_monuseg(tmp_path / "release", flat, suffix)
        assert run("monuseg", tmp_path / "release", tmp_path / "out") == 1
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["tile.png", "tile_label.png"]
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "tile.png")), picture)
        label = np.asarray(Image.open(tmp_path / "out" / "tile_label.png"))
        assert label.shape == (16, 20)
        rows, columns = np.nonzero(label)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 7, 2, 8)
        assert set(np.unique(label)) == {0, 255}

    def test_outlines_beyond_the_border_are_cut(self) -> None:
        everything = np.array([[-50.0, -50], [-50, 1e9], [1e9, 1e9], [1e9, -50]])
        assert fill([everything], (7, 9)).tolist() == np.full((7, 9), 255).tolist()

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "cannot be read as an annotation"),
            ("<Annotations><Region>", "cannot be read as an annotation"),
            ('<A><Region><Vertex X="1"/></Region></A>', "cannot be read as an annotation"),
            ('<A><Region><Vertex X="1" Y="top"/></Region></A>', "cannot be read as an annotation"),
            ('<A><Region><Vertex X="1" Y="nan"/></Region></A>', "not a finite number"),
            ("<Annotations/>", "outlines no nucleus"),
        ],
    )
    def test_damaged_annotation(self, tmp_path: Path, text: str, reason: str) -> None:
        (tmp_path / "tile.xml").write_text(text, encoding="utf-8")
        with pytest.raises(WssegError, match=rf"tile\.xml: .*{reason}") as caught:
            read_outlines(tmp_path / "tile.xml")
        assert "\n" not in str(caught.value)


def cut(path: Path, part: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def picture(path: Path, *shape: int) -> None:
    Image.fromarray(np.zeros(shape, np.uint8)).save(path)


ALL: dict[str, Callable[[Path], Any]] = {
    "kaggle-3m": lambda source: make_kaggle(source, "TCGA_A"),
    "acdc": lambda source: make_acdc(source, np.zeros((6, 5, 4), np.uint8)),
    "brats": lambda source: make_brats(source, "BraTS1_flair", "BraTS1_seg", np.ones((6, 5, 4), np.uint8)),
    "monuseg": make_monuseg,
}

KAGGLE, ACDC, BRATS = "TCGA_A/TCGA_A", "patient007/patient007_frame01", "BraTS1/BraTS1"

BAD: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("kaggle-3m", f"{KAGGLE}_7.tif", Path.unlink, "no such file, a slice is missing"),
    ("kaggle-3m", f"{KAGGLE}_12_mask.tif", Path.unlink, "cannot be read (No such file"),
    ("kaggle-3m", f"{KAGGLE}_7.tif", cut, "cannot be read as a picture"),
    ("kaggle-3m", f"{KAGGLE}_7.tif", lambda p: p.write_bytes(b""), "cannot be read as a picture"),
    ("kaggle-3m", f"{KAGGLE}_7.tif", lambda p: picture(p, 6, 5), "is a picture of mode L, expected RGB"),
    ("kaggle-3m", f"{KAGGLE}_7.tif", lambda p: picture(p, 6, 6, 3), "has another size"),
    ("kaggle-3m", f"{KAGGLE}_7_mask.tif", lambda p: picture(p, 5, 6), "has another size"),
    ("kaggle-3m", "TCGA_A", shutil.rmtree, "holds no folder TCGA_"),
    ("acdc", f"{ACDC}.nii", Path.unlink, "holds no scan patient007_frameYY"),
    ("acdc", f"{ACDC}.nii", cut, "cannot be read as an image"),
    ("acdc", f"{ACDC}_gt.nii.gz", cut, "cannot be read as an image"),
    ("acdc", f"{ACDC}_gt.nii.gz", lambda p: save(p, noise(6, 5, 3)), "is 6 x 5 x 3, but its scan is 6 x 5 x 4"),
    ("acdc", f"{ACDC}_gt.nii.gz", lambda p: save(p, np.full((6, 5, 4), 9, "u1")), "holds the value 9, expected 0, 1"),
    ("acdc", f"{ACDC}_scribble.nii.gz", lambda p: save(p, np.full((6, 5, 4), 5, "u1")), "holds the value 5"),
    ("acdc", "patient007", shutil.rmtree, "holds no folder patient"),
    (
        "brats",
        f"{BRATS}_flair.nii.gz",
        Path.unlink,
        "holds no FLAIR, expected BraTS1_flair.nii.gz or BraTS1-t2f.nii.gz",
    ),
    ("brats", f"{BRATS}_flair.nii.gz", cut, "cannot be read as an image"),
    ("brats", f"{BRATS}_flair.nii.gz", lambda p: save(p, np.zeros((6, 5, 4), "u1")), "every voxel is 0"),
    ("brats", f"{BRATS}_seg.nii.gz", lambda p: save(p, noise(6, 5, 3)), "is 6 x 5 x 3, but its scan is 6 x 5 x 4"),
    ("brats", f"{BRATS}_seg.nii.gz", lambda p: save(p, np.full((6, 5, 4), 0.5)), "holds the value 0.5"),
    ("brats", "BraTS1", shutil.rmtree, "holds no folder BraTS"),
    ("monuseg", "Tissue Images/tile.tif", cut, "cannot be read as a picture"),
    ("monuseg", "Tissue Images/tile.tif", Path.unlink, "holds no picture"),
    ("monuseg", "Annotations/tile.xml", Path.unlink, "no such file, every tile needs its annotation"),
    ("monuseg", "Annotations/tile.xml", cut, "cannot be read as an annotation"),
]


class TestBadReleases:
    @pytest.mark.parametrize("release", IMPORTERS)
    def test_whole_release_passes(self, release: str, tmp_path: Path) -> None:
        ALL[release](tmp_path / "release")
        assert run(release, tmp_path / "release", tmp_path / "out") == 1

    @pytest.mark.parametrize(("release", "file", "damage", "reason"), BAD)
    def test_one_sentence_that_names_the_file(
        self, release: str, file: str, damage: Callable[[Path], Any], reason: str, tmp_path: Path
    ) -> None:
        ALL[release](tmp_path / "release")
        path = tmp_path / "release" / file
        damage(path)
        with pytest.raises(WssegError, match=re.escape(reason)) as caught:
            IMPORTERS[release](tmp_path / "release", tmp_path / "out", lambda part: None)
        message = str(caught.value)
        assert message.startswith((f"{path}: ", f"{path.parent}: "))
        assert "\n" not in message
        for left in tmp_path.glob("out/*"):
            assert left.name.endswith(".nii.gz"), "a table or half a file is left"
            assert voxels(left).size

    @pytest.mark.parametrize("release", IMPORTERS)
    @pytest.mark.parametrize("make", [lambda path: None, Path.mkdir, Path.touch], ids=["none", "empty", "a file"])
    def test_no_release_at_all(self, release: str, make: Callable[[Path], Any], tmp_path: Path) -> None:
        make(tmp_path / "release")
        with pytest.raises(WssegError, match=rf"{tmp_path / 'release'}: (no such folder|holds no)"):
            IMPORTERS[release](tmp_path / "release", tmp_path / "out", lambda part: None)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("release", IMPORTERS)
    def test_out_cannot_be_made(self, release: str, tmp_path: Path) -> None:
        ALL[release](tmp_path / "release")
        (tmp_path / "out").write_text("a file", encoding="utf-8")
        with pytest.raises(WssegError, match=rf"{tmp_path / 'out'}: cannot be made \(File exists\)"):
            IMPORTERS[release](tmp_path / "release", tmp_path / "out", lambda part: None)

    def test_another_table_in_out_stops_the_import_before_it_begins(self, tmp_path: Path) -> None:
        make_kaggle(tmp_path / "release")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / PRESENCE_FILE).write_text("case,slice,RV\n", encoding="utf-8")
        with pytest.raises(WssegError, match=r"image_labels\.csv: column tumor is missing"):
            IMPORTERS["kaggle-3m"](tmp_path / "release", tmp_path / "out", lambda part: None)
        assert [p.name for p in (tmp_path / "out").iterdir()] == [PRESENCE_FILE]
