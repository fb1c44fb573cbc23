from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from wsseg.data.kinds.base import CutScan
from wsseg.data.kinds.registry import PRESENCE, TEXT
from wsseg.data.phantom import LABELS, make_phantom, write_phantom_data
from wsseg.data.preprocess import View, prepare
from wsseg.data.sentences.entailed import halves_of
from wsseg.data.slices import check_folder, load_slices
from wsseg.data.targets import Targets
from wsseg.errors import WssegError
from wsseg.images.volume import Volume

VIEW = View(64)


def _scan(volume: Volume) -> CutScan:
    return CutScan("head", Path("head.nii.gz"), volume, prepare(volume, VIEW))


def _head(orientation: str = "LPS") -> tuple[Volume, np.ndarray]:
    """A head stored in some orientation, and where its left is: stored to the left at first."""
    head, _ = make_phantom(3, size=64)
    is_left = np.broadcast_to(np.arange(64)[:, None, None] > 38, head.shape)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt(orientation)
    )
    affine = head.affine @ nib.orientations.inv_ornt_aff(turn, head.shape)
    voxels, is_left = (nib.orientations.apply_orientation(each, turn) for each in (head.voxels, is_left))
    return Volume(np.ascontiguousarray(voxels), affine), is_left


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "SRA", "PIR"])
def test_sides_are_the_patients_however_a_scan_is_stored(orientation: str) -> None:
    volume, is_left = _head(orientation)
    scan = _scan(volume)
    half, left = halves_of(scan), scan.stack.grid.cut(is_left)
    assert (half[left] == 1).mean() > 0.9
    assert not (half[left] == 2).any()
    assert (half == 2).mean() > 0.3


def test_nothing_is_said_where_the_bodys_middle_is_not_known() -> None:
    head, _ = _head()
    cropped = Volume(np.ascontiguousarray(head.voxels[24:]), head.affine)
    cos, sin = np.cos(0.7), np.sin(0.7)
    oblique = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ head.affine
    nowhere_told = replace(head, nifti=nib.Nifti1Header())
    for volume in (cropped, Volume(head.voxels, oblique), nowhere_told):
        assert not halves_of(_scan(volume)).any()


def test_a_report_says_of_slices_what_it_entails() -> None:
    scan = _scan(_head()[0])

    def targets(text: str) -> Targets:
        return TEXT.targets(text, scan, LABELS, Path())

    assert (targets("No tumor.").presence == 0).all()
    there = targets("There is a tumor.")
    assert (there.presence == -1).all(), "on which slices is not said"
    one_side = targets("A tumor in the left hemisphere")
    assert one_side.side.unique().tolist() == [1]
    assert one_side.half.unique().tolist() == [0, 1, 2]
    assert (one_side.presence == -1).all()
    assert not there.half.any()
    assert not targets("No tumor in the left frontal lobe").side.any()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_phantom_data(tmp_path, 3, seed=0, size=64)
    for mask in tmp_path.glob("*_label.nii.gz"):
        mask.unlink()
    (tmp_path / "text.csv").write_text(
        "case,text\nphantom_000,No tumor. It was snowing.\nphantom_001,No large tumor\n", encoding="utf-8"
    )
    return tmp_path


def test_sentences_alone_are_not_enough(folder: Path) -> None:
    with pytest.raises(WssegError, match="sentences tell where a class is not, never where it is"):
        load_slices(folder, LABELS, VIEW, (TEXT,))
    with pytest.raises(WssegError, match="sentences tell where a class is not"):
        check_folder(folder, LABELS, (TEXT,))


def test_sentences_yield_to_other_labels_and_choose_no_samples(folder: Path) -> None:
    data = load_slices(folder, LABELS, VIEW, (PRESENCE, TEXT))
    assert (data.targets.presence[data.case == 0] == 1).any(), "presence is believed first"
    told, alone = data.batch(0, 0, range(8)), load_slices(folder, LABELS, VIEW, (PRESENCE,)).batch(0, 0, range(8))
    assert torch.equal(told.images, alone.images)


def test_how_much_was_understood_is_told(folder: Path) -> None:
    data = load_slices(folder, LABELS, VIEW, (PRESENCE, TEXT))
    assert TEXT.reading(data.targets, LABELS) == '1 of 3 different sentences are understood, not "It was snowing"'
    assert PRESENCE.reading(data.targets, LABELS) == ""


def test_a_side_moves_with_the_picture(folder: Path) -> None:
    (folder / "text.csv").write_text("case,text\nphantom_000,A tumor on the left\n", encoding="utf-8")
    data = load_slices(folder, LABELS, VIEW, (PRESENCE, TEXT))
    rows = torch.nonzero(data.targets.half.flatten(1).any(dim=1))[:, 0]
    mirrored = data.targets.at(rows).moved(lambda planes: planes.flip(-2), data.targets.pixels.shape[1:])
    assert torch.equal(mirrored.half, data.targets.half[rows].flip(-2))
    assert (mirrored.side == 1).all()
