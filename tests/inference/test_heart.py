"""The heart's model on scans that look otherwise than those it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wsseg.data.preprocess import scale_intensity
from wsseg.evaluation.metrics import dice_of
from wsseg.images.formats.table import read_volume
from wsseg.images.scan import read_scan
from wsseg.inference.segmenter import Segmenter

Voxels = NDArray[np.float32]


def _with_air(level: float) -> Callable[[Voxels], Voxels]:
    def change(voxels: Voxels) -> Voxels:
        air = scale_intensity(np.moveaxis(voxels, 2, 0))[2]
        return np.where(np.moveaxis(air, 0, 2), np.float32(level), voxels)

    return change


def _padded(voxels: Voxels) -> Voxels:
    """Air of 15 in a frame of 0."""
    inner = _with_air(15)(voxels)[4:-4, 4:-4]
    return np.pad(inner, ((4, 4), (4, 4), (0, 0)))


def _noisy(voxels: Voxels) -> Voxels:
    noise = np.random.default_rng(0).normal(15, 6, voxels.shape)
    return np.where(_with_air(-1)(voxels) < 0, np.abs(noise), voxels).astype(np.float32)


CHANGES: dict[str, Callable[[Voxels], Voxels]] = {
    "air of 15": _with_air(15),
    "air of 40": _with_air(40),
    "noisy air": _noisy,
    "air of 15 in padding": _padded,
}


@pytest.fixture(scope="module")
def heart() -> Segmenter:
    return Segmenter("pclmix-cardiac-cine", "cpu")


@pytest.mark.long
def test_neither_air_nor_orientation_moves_the_heart(heart: Segmenter, shared: Path) -> None:
    folder, case = shared / "acdc" / "val", "patient091_frame01"
    scan = read_scan(folder / f"{case}.nii.gz")
    truth = read_volume(folder / f"{case}_label.nii.gz").voxels
    voxels = scan.voxels.astype(np.float32)
    plain = _dice(heart(scan).mask.voxels, truth)
    assert min(plain) > 0.5
    for name, change in CHANGES.items():
        found = heart(scan.like(change(voxels))).mask.voxels
        assert min(np.subtract(_dice(found, truth), plain)) > -0.05, name
    for flips in ((1, -1), (-1, 1)):
        turned = heart(scan.like(np.ascontiguousarray(voxels[:: flips[0], :: flips[1]]))).mask.voxels
        found = turned[:: flips[0], :: flips[1]]
        assert min(np.subtract(_dice(found, truth), plain)) > -0.05, flips


def _dice(mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> list[float]:
    return [dice_of(mask == value, truth == value) for value in (1, 2, 3)]
