"""Slices as the page shows them: hung, in stored order, whatever way round a scan is stored."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from wsseg.images.formats.nifti import read_nifti, read_nifti_planes, write_nifti
from wsseg.images.volume import Volume
from wsseg.labels.identity import hash_of
from wsseg.server.pictures.planes import Planes
from wsseg.server.pictures.sprites import SOFT_TISSUE, Sprite
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.studies.studies import Studies
from wsseg.server.studies.voxels import Voxels

SHAPE = (7, 6, 5)
VOXELS = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 100
WAYS = ("RAS", "LPS", "ARS", "SAL", "PIR")


def stored(way: str) -> np.ndarray:
    """The affine of a scan whose third axis is that of its slices, stored one way round."""
    axes = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    for column, letter in enumerate(way):
        axis, sign = axes[letter]
        affine[:3, column] = 0
        affine[axis, column] = sign * (5.0 if column == 2 else 1.0)
    return affine


@pytest.mark.parametrize("way", WAYS)
def test_a_pixel_leads_back_to_its_voxel(way: str) -> None:
    planes = Planes.of(Volume(VOXELS, stored(way)))
    found = planes.numbers(VOXELS, 1, 3)
    intensities = found.slope * found.codes + found.intercept
    assert intensities.shape == (3, planes.down.pixels, planes.right.pixels)
    for index, row, column in ((0, 0, 0), (2, 4, 1), (1, 2, 3)):
        place = [1 + index] * 3
        for direction, at in ((planes.right, column), (planes.down, row)):
            place[direction.axis] = direction.pixels - 1 - at if direction.flipped else at
        assert VOXELS[tuple(place)] == intensities[index, row, column]


def test_pictures_hang_with_the_nose_up_and_the_right_side_left() -> None:
    planes = Planes.of(Volume(VOXELS, stored("RAS")))
    assert (planes.right.axis, planes.right.flipped) == (0, True)
    assert (planes.down.axis, planes.down.flipped) == (1, True)


def test_other_numbers_lie_between_the_ends_of_the_scan() -> None:
    voxels = VOXELS / 7.0
    found = Planes.of(Volume(voxels, stored("RAS"))).numbers(voxels, 0, 5)
    assert (found.codes.min(), found.codes.max()) == (0, 65535)
    values = found.slope * found.codes + found.intercept
    assert values.min() == pytest.approx(voxels.min())
    assert values.max() == pytest.approx(voxels.max())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_the_first_slices_without_the_rest_of_the_file(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"scan{ending}"
    write_nifti(file, VOXELS, stored("LPS"))
    found = read_nifti_planes(file, 2)
    assert found is not None
    assert np.array_equal(found, read_nifti(file).voxels[..., :2])
    scaled = nib.Nifti1Image(VOXELS, np.eye(4))
    scaled.header.set_slope_inter(2.0, 1.0)
    nib.save(scaled, file)
    assert read_nifti_planes(file, 2) is None


def test_a_scan_is_read_once_until_it_changes(tmp_path: Path) -> None:
    file, held = tmp_path / "scan.nii", Voxels()
    write_nifti(file, VOXELS, np.eye(4))
    assert not held.holds(file)
    first = held.read(file)
    assert held.read(file) is first
    assert not first.voxels.flags.writeable
    write_nifti(file, np.pad(VOXELS, 1), np.eye(4))
    assert held.read(file).shape == (9, 8, 7)


def test_a_scan_that_is_shown_and_labelled_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nifti(tmp_path / "scan.nii", VOXELS, np.eye(4))
    studies, read = Studies(ScanFolder(tmp_path)), list[Path]()
    monkeypatch.setattr("wsseg.server.studies.voxels.read_volume", lambda path: read.append(path) or read_nifti(path))
    studies.voxels.read(studies.path("scan"))
    assert studies.identity("scan").content == hash_of(read_nifti(tmp_path / "scan.nii"))
    assert len(read) == 1


def test_thumbnails_of_a_ct_show_soft_tissue_however_much_air_is_around(tmp_path: Path) -> None:
    voxels = np.full((40, 40, 3), -1000, np.int16)
    voxels[10:30, 10:30] = np.where(np.arange(20) < 10, 0, 80)[None, :, None]
    scan = Volume(voxels, np.diag([1.0, 1.0, 3.0, 1.0]))
    with Image.open(io.BytesIO(Sprite.of(scan).picture(scan, SOFT_TISSUE))) as shown:
        tissue = np.unique(np.asarray(shown)[40:88, 40:88])
    assert (tissue.min(), tissue.max()) == (pytest.approx(96, abs=8), pytest.approx(147, abs=8))
