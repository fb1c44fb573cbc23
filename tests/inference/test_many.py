"""A folder of scans into a folder of masks: what is found, what fails, what a second run does."""

from __future__ import annotations

import csv
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  (its own documentation's name)
from orthanc import as_itk, write_patient

from wsseg.cli import main
from wsseg.data.phantom import make_phantom
from wsseg.errors import WssegError
from wsseg.images.folder import scan_files
from wsseg.images.formats.table import read_volume
from wsseg.images.listing import find_scans
from wsseg.inference.many import ManyProgress, segment_many
from wsseg.inference.result import NEGATIVE, NOTHING
from wsseg.inference.results import FILE
from wsseg.inference.segmenter import Segmenter
from wsseg.inference.summary import Summary


@pytest.fixture
def folder(phantom_data: Path, tmp_path: Path) -> Path:
    """Three scans, one of them in a folder of its own, and one that is damaged."""
    place = tmp_path / "scans"
    (place / "b").mkdir(parents=True)
    for name, file in zip(("a", "b/b", "d"), scan_files(phantom_data).values(), strict=False):
        shutil.copy(file, place / f"{name}.nii.gz")
    (place / "c.nii.gz").write_bytes(b"no scan")
    return place


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / FILE).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({row["scan"] for row in rows}) == len(rows), "one row a scan"
    return {row["scan"]: row for row in rows}


def segmented(folder: Path, published: str, out: Path) -> ManyProgress:
    return segment_many(find_scans(folder), Segmenter(published), out, lambda progress: None)


def test_a_failure_is_a_row_and_stops_nothing(folder: Path, published: str, tmp_path: Path) -> None:
    out, told = tmp_path / "out", list[ManyProgress]()
    segmenter = Segmenter(published)
    end = segment_many(find_scans(folder), segmenter, out, told.append)
    assert (end.done, end.failed, end.total) == (4, 1, 4)
    assert [progress.done for progress in told] == [0, 1, 2, 3, 4]
    rows = rows_of(out)
    assert list(rows) == ["a", "b/b", "c", "d"]
    assert "its gzip is damaged" in rows["c"]["error"]
    assert rows["c"]["mask"] == rows["c"]["tumor ml"] == ""
    for case in ("a", "b/b", "d"):
        mask = read_volume(out / rows[case]["mask"])
        alone = segmenter(read_volume(folder / f"{case}.nii.gz"))
        assert np.array_equal(mask.voxels, alone.mask.voxels)
        assert float(rows[case]["tumor ml"]) == pytest.approx(alone.facts()["millilitres"]["tumor"])
        assert float(rows[case]["seconds"]) > 0


def test_a_row_says_what_no_number_does(folder: Path, published: str, tmp_path: Path) -> None:
    found = Segmenter(published)(read_volume(folder / "a.nii.gz"))
    empty = found.mask.like(np.zeros_like(found.mask.voxels))
    assert Summary.of(found).row()["remark"] == ""
    assert Summary.of(replace(found, mask=empty, negative=True)).row()["remark"] == f"{NEGATIVE}; {NOTHING}"
    segmented(folder, published, tmp_path / "out")
    assert {row["remark"] for row in rows_of(tmp_path / "out").values()} == {""}


def test_a_second_run_does_what_is_missing(folder: Path, published: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segmented(folder, published, out)
    first = rows_of(out)
    shutil.copy(folder / "a.nii.gz", folder / "c.nii.gz")
    (out / first["d"]["mask"]).unlink()
    kept = (out / first["a"]["mask"]).stat().st_mtime_ns
    whole = (out / FILE).read_text("utf-8")
    (out / FILE).write_text(whole[: whole.index("b/b") + 12], encoding="utf-8")  # a kill within a row
    assert segmented(folder, published, out).failed == 0
    second = rows_of(out)
    assert sorted(second) == ["a", "b/b", "c", "d"]
    assert all(row["error"] == "" and (out / row["mask"]).exists() for row in second.values())
    assert second["a"] == first["a"]
    assert (out / first["a"]["mask"]).stat().st_mtime_ns == kept


def test_results_of_another_model_are_not_mixed_in(folder: Path, published: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    segmented(folder, published, out)
    text = (out / FILE).read_text("utf-8")
    (out / FILE).write_text(text.replace(",0.1,", ",0.2,"), encoding="utf-8")
    with pytest.raises(WssegError, match="another model or version"):
        segmented(folder, published, out)
    assert (out / FILE).read_text("utf-8") == text.replace(",0.1,", ",0.2,")


def test_of_a_bids_tree_what_subjects_have(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text("{}", encoding="utf-8")
    names = ("sub-01/anat/sub-01_FLAIR", "sub-01/anat/sub-01_T1w", "derivatives/x/sub-01/anat/sub-01_FLAIR")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.nii.gz").touch()
    assert [source.case for source in find_scans(tmp_path)] == list(names[:2])
    flair = find_scans(tmp_path, "*_FLAIR.nii.gz")
    assert [source.mask() for source in flair] == ["sub-01/anat/sub-01_FLAIR_mask.nii.gz"]
    with pytest.raises(WssegError, match=r'holds no scan that matches "\*_T2w.nii.gz"'):
        find_scans(tmp_path, "*_T2w.nii.gz")


def test_dicom_series_are_found_however_they_are_spread(tmp_path: Path) -> None:
    """Two series in one folder, one of them over two; a damaged file spoils what lies beside it."""
    scans = {name: as_itk(make_phantom(seed, size=32)[0]) for seed, name in enumerate(("Ada", "Bo", "Cy"))}
    files = {name: write_patient(tmp_path / name, name, scan) for name, scan in scans.items()}
    (tmp_path / "mixed" / "upper").mkdir(parents=True)
    for name in ("Ada", "Bo"):
        for number, file in enumerate(files[name]):
            file.rename(tmp_path / "mixed" / ("upper" if name == "Bo" and number % 2 else "") / f"{name}{number}.dcm")
    (tmp_path / "notes.txt").write_text("no scan", encoding="utf-8")
    (tmp_path / "Cy" / "999.dcm").write_bytes(files["Cy"][0].read_bytes()[:600])
    sources = find_scans(tmp_path)
    assert len(sources) == 3
    assert all(source.mask() == f"{source.case}_mask.dcm" for source in sources)
    read = {}
    for source in sources:
        if source.place.name == "Cy":
            with pytest.raises(WssegError, match="999"):
                source.read()
            continue
        scan = source.read()
        assert scan.series is not None
        read[str(scan.series.sources[0].PatientID)] = scan.volume.voxels
    for name, voxels in read.items():
        assert np.array_equal(voxels.T, sitk.GetArrayFromImage(scans[name]))
    assert read.keys() == {"Ada", "Bo"}


def test_a_table_names_scans_and_cases(tmp_path: Path) -> None:
    table = tmp_path / "scans.csv"
    table.write_text("case,scan\none,x/scan.nii.gz\ntwo,y/scan.nrrd\n", encoding="utf-8")
    assert [(s.case, s.place, s.mask()) for s in find_scans(table)] == [
        ("one", tmp_path / "x" / "scan.nii.gz", "one_mask.nii.gz"),
        ("two", tmp_path / "y" / "scan.nrrd", "two_mask.nrrd"),
    ]
    table.write_text("scan;case\nx/a,b.nii.gz;one\n", encoding="utf-8-sig")  # as where a comma is decimal
    assert [(s.case, s.place) for s in find_scans(table)] == [("one", tmp_path / "x" / "a,b.nii.gz")]
    wrong = {
        "file\nx.nii.gz\n": "column scan is missing",
        "scan\nx/a.nii.gz\ny/a.nii.gz\n": "is the same case as",
        "scan,case\nx.nii.gz,../x\n": "line 2: case must be",
        "scan,case\n,x\n": "line 2: scan is empty",
        "scan\n": "holds no scan",
    }
    for text, sentence in wrong.items():
        table.write_text(text, encoding="utf-8")
        with pytest.raises(WssegError, match=sentence):
            find_scans(table)


def test_the_command_says_by_its_exit_code_whether_any_failed(
    folder: Path, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def exit_code(*arguments: object) -> object:
        monkeypatch.setattr(sys, "argv", ["wsseg", "segment", *map(str, arguments), "--model", published])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code

    out = tmp_path / "out"
    assert exit_code(folder, out) == 1
    assert "1 of 4 scans failed" in capsys.readouterr().err
    (folder / "c.nii.gz").unlink()
    assert exit_code(folder, out) == 0
    assert capsys.readouterr().out == f"{out / FILE}\n"
    assert exit_code(folder, out, "--text", "a tumour") == 2
    assert "--text: is for one scan" in capsys.readouterr().err
    assert exit_code(folder / "a.nii.gz", tmp_path / "m.nii.gz", "--match", "*a*") == 2
