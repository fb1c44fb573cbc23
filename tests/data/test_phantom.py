"""The synthetic head: the same every time, stored as real scans are, and like FLAIR in its intensities."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from wsseg.data.kinds.registry import PRESENCE
from wsseg.data.phantom import make_phantom, write_demo_study, write_phantom_data
from wsseg.data.preprocess import View, prepare
from wsseg.data.slices import load_slices
from wsseg.images.folder import reference_of, scan_files
from wsseg.images.formats.table import read_volume
from wsseg.images.scan import read_scan
from wsseg.images.volume import SliceGrid, Volume
from wsseg.labels.space import LabelSpace

TUMOR = LabelSpace(("tumor",))


@pytest.fixture(scope="module")
def head() -> tuple[Volume, np.ndarray]:
    return make_phantom(seed=5)


def tissue_of(scan: Volume) -> np.ndarray:
    """Where a model sees tissue, (x, y, slice)."""
    return SliceGrid.of(scan).join(prepare(scan, View(64)).tissue)


def test_grid(head: tuple[Volume, np.ndarray]) -> None:
    scan, mask = head
    assert scan.voxels.shape == mask.shape == (256, 256, 24)
    assert scan.voxels.dtype == mask.dtype == np.uint8
    assert scan.spacing == (1, 1, 5)
    assert nib.aff2axcodes(scan.affine) == ("L", "P", "S")
    assert SliceGrid.of(scan).stored_axis == 2


def test_same_seed_same_voxels_other_seed_other_voxels() -> None:
    first, mask = make_phantom(7, size=64)
    again, mask_again = make_phantom(7, size=64)
    other, other_mask = make_phantom(8, size=64)
    assert np.array_equal(first.voxels, again.voxels)
    assert np.array_equal(mask, mask_again)
    assert not np.array_equal(first.voxels, other.voxels)
    assert not np.array_equal(mask, other_mask)


def test_without_finding_the_same_head_is_healthy() -> None:
    ill, mask = make_phantom(7, size=64)
    healthy, empty = make_phantom(7, finding=False, size=64)
    assert not empty.any()
    inside = mask > 0
    assert np.median(ill.voxels[inside]) > 1.3 * np.median(healthy.voxels[inside])


def test_intensities_are_those_of_flair(head: tuple[Volume, np.ndarray]) -> None:
    # In medians of the tissue, as real scans have them: air 0, lesion 1.4 to 2.2, scalp about 2.
    scan, mask = head
    level = scan.voxels / np.median(scan.voxels[tissue_of(scan)])
    assert np.median(level[:20, :20]) < 0.1
    assert 1.4 < np.median(level[mask > 0]) < 2.2
    assert 1.8 < np.percentile(level, 99.5) < 3


@pytest.mark.parametrize("seed", range(6))
def test_lesion_spans_several_slices_and_lies_inside_the_head(seed: int) -> None:
    scan, mask = make_phantom(seed, size=128)
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    assert 3 <= len(slices) < scan.voxels.shape[2] - 2
    assert 3 < mask.sum() * np.prod(scan.spacing) / 1000 < 150  # millilitres
    assert tissue_of(scan)[mask > 0].all()


@pytest.mark.long
def test_demo_study_is_one_scan_and_always_the_same(tmp_path: Path) -> None:
    first = write_demo_study(tmp_path / "a")
    second = write_demo_study(tmp_path / "b" / "c")
    assert [p.name for p in (tmp_path / "a").iterdir()] == [first.name] == ["demo_flair.nii.gz"]
    assert first.read_bytes() == second.read_bytes()
    assert read_scan(first).voxels.shape == (256, 256, 24)


def test_data_set_in_our_layout(tmp_path: Path) -> None:
    write_phantom_data(tmp_path / "data", cases=4, seed=3, size=64)
    scans = scan_files(tmp_path / "data")
    assert list(scans) == [f"phantom_{k:03d}" for k in range(4)]
    data = load_slices(tmp_path / "data", TUMOR, View(32), (PRESENCE,))
    assert len(data.cases) == 4
    assert data.images.shape == (32, 1, 32, 32)
    shown = np.concatenate([read_volume(reference_of(scan)).voxels.any(axis=(0, 1)) for scan in scans.values()])
    assert data.targets.presence[:, 0].tolist() == shown.astype(int).tolist()
    assert not shown[24:].any(), "every fourth head is healthy"
