"""What `wsseg segment` takes for one scan and for many."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pydicom import dcmread

from command import wsseg
from dicom_series import GEOMETRIES, SHAPE, series, write
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.table import read_volume


def test_a_folder_of_one_dicom_series_becomes_one_mask(published: str, tmp_path: Path) -> None:
    """Whatever else lies in it: a picture that somebody left beside the images makes it no folder of scans."""
    folder = write(series(GEOMETRIES["axial"]), tmp_path / "series")
    (folder / "preview.png").write_bytes(b"no image")
    wsseg("segment", folder, tmp_path / "mask.nii.gz", "--model", published)
    assert read_volume(tmp_path / "mask.nii.gz").voxels.shape == SHAPE
    wsseg("segment", folder, tmp_path / "mask.dcm", "--model", published, "--presence", _everywhere(folder, tmp_path))
    assert dcmread(tmp_path / "mask.dcm").Modality == "SEG"
    write_nifti(folder / "other.nii.gz", np.zeros((8, 8, 4), np.int16), np.eye(4))  # and a second scan is not dropped
    both = wsseg("segment", folder, tmp_path / "both.dcm", "--model", published, check=False)
    assert f"{folder} is a folder of scans, not of one DICOM series" in both.stderr
    assert not (tmp_path / "both.dcm").exists()
    (folder / "other.nii.gz").unlink()
    first = min(folder.glob("IM*"))
    first.write_bytes(first.read_bytes()[:900])  # damaged: what is wrong is still said
    damaged = wsseg("segment", folder, tmp_path / "mask.dcm", "--model", published, check=False)
    assert damaged.returncode == 2
    assert "folder of scans" not in damaged.stderr


def _everywhere(folder: Path, tmp_path: Path) -> Path:
    """A table that says of every slice of a series that it shows the class."""
    uid = dcmread(folder / "IM0000").SeriesInstanceUID
    table = tmp_path / "presence.csv"
    rows = "".join(f"{uid},{index},1\n" for index in range(SHAPE[2]))
    table.write_text(f"case,slice,tumor\n{rows}", encoding="utf-8")
    return table


def test_many_scans_into_one_mask_are_refused_in_one_sentence(
    published: str, phantom_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mask.nii.gz"
    refused = wsseg("segment", phantom_data, out, "--model", published, check=False)
    assert refused.returncode == 2
    assert f"{phantom_data} is a folder of scans, not of one DICOM series" in refused.stderr
    (tmp_path / "empty").mkdir()
    empty = wsseg("segment", tmp_path / "empty", out, "--model", published, check=False)
    assert "holds no DICOM image" in empty.stderr
    assert not out.exists()


def test_a_mask_is_the_same_with_and_without_words_on_presence_that_say_nothing(
    published: str, phantom_data: Path, tmp_path: Path
) -> None:
    scan = next(iter(sorted(phantom_data.glob("phantom_000.nii.gz"))))
    count = read_volume(scan).voxels.shape[2]
    table = tmp_path / "presence.csv"
    table.write_text("case,slice,tumor\n" + "".join(f"phantom_000,{k},\n" for k in range(count)), encoding="utf-8")
    masks = [tmp_path / "plain.nii.gz", tmp_path / "unknown.nii.gz"]
    wsseg("segment", scan, masks[0], "--model", published)
    wsseg("segment", scan, masks[1], "--model", published, "--presence", table)
    assert np.array_equal(*(read_volume(mask).voxels for mask in masks))


def test_slices_that_are_said_to_show_what_is_not_marked_are_named(
    published: str, phantom_data: Path, tmp_path: Path
) -> None:
    scan = phantom_data / "phantom_000.nii.gz"
    voxels = read_volume(scan).voxels.copy()
    voxels[:, :, 0] = 0  # air, where nothing can be
    write_nifti(tmp_path / "scan.nii.gz", voxels, np.eye(4))
    table = tmp_path / "presence.csv"
    rows = "".join(f"scan,{index},{int(index == 0)}\n" for index in range(voxels.shape[2]))
    table.write_text(f"case,slice,tumor\n{rows}", encoding="utf-8")
    answer = tmp_path / "told.json"
    told = wsseg(
        *("segment", tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz", "--model", published),
        *("--presence", table, "--json", answer),
    )
    assert "tumor is said to be on slice 0, where nothing was found that could be it" in told.stderr
    assert json.loads(answer.read_text("utf-8"))["unmarked"] == {"tumor": [0]}
