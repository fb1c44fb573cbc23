"""A kind of label from outside the package: nothing but its object and its place among the kinds is needed."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from wsseg.data.kinds.base import CutScan, LabelKind
from wsseg.data.kinds.registry import KINDS, PRESENCE, kinds_named
from wsseg.data.preprocess import View
from wsseg.data.slices import check_folder, load_slices
from wsseg.data.targets import Targets
from wsseg.errors import WssegError
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.volume import Volume
from wsseg.labels.space import LabelSpace

LIVER = LabelSpace(("liver",))


class _FrameKind(LabelKind[tuple[int, ...]]):
    """A frame around a finding on one slice: background outside of it."""

    name, words = "frames", "frames"

    def in_folder(self, folder: Path, scans: Mapping[str, Path], labels: LabelSpace) -> dict[str, tuple[int, ...]]:
        table = folder / "frames.csv"
        if not table.exists():
            return {}
        with table.open(newline="", encoding="utf-8") as file:
            rows = {case: tuple(map(int, limits)) for case, *limits in csv.reader(file)}
        return {case: limits for case, limits in rows.items() if case in scans}

    def nothing_in(self, folder: Path) -> str:
        return f"{folder}: has no frames"

    def stored(self, given: tuple[int, ...], grid: Volume, labels: LabelSpace) -> Targets:
        pixels = torch.from_numpy(np.moveaxis(self._pixels(given, grid), 2, 0).copy())
        return replace(Targets.unknown(len(pixels), len(labels), pixels.shape[1:]), pixels=pixels)

    def targets(self, given: tuple[int, ...], scan: CutScan, labels: LabelSpace, source: Path) -> Targets:
        cut = np.ascontiguousarray(scan.stack.grid.cut(self._pixels(given, scan.volume)))
        return replace(scan.unknown(labels), pixels=scan.stack.labels_to_network(cut))

    @staticmethod
    def _pixels(given: tuple[int, ...], grid: Volume) -> np.ndarray:
        index, top, left, bottom, right = given
        pixels = np.zeros(grid.shape, np.uint8)
        pixels[..., index] = 255
        pixels[top:bottom, left:right, index] = 0
        return pixels

    def bears(self, targets: Targets) -> Tensor:
        return targets.pixels.flatten(1).any(dim=1)

    def lacking(self, targets: Iterable[Targets], labels: LabelSpace) -> list[str]:
        return [] if any(each.pixels.any() for each in targets) else ["no scan has a frame"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(KINDS, "frames", _FrameKind())
    scan = np.random.default_rng(0).integers(80, 120, (32, 32, 4)).astype(np.int16)
    for case in ("a", "b"):
        write_nifti(tmp_path / f"{case}.nii.gz", scan, np.diag([2.0, 2.0, 5.0, 1.0]))
    (tmp_path / "frames.csv").write_text("a,2,4,6,20,22\n", encoding="utf-8")
    (tmp_path / "image_labels.csv").write_text(
        "case,slice,liver\n" + "".join(f"a,{k},{k % 2}\n" for k in range(4)), encoding="utf-8"
    )
    return tmp_path


def test_a_kind_from_outside_reaches_a_batch(folder: Path) -> None:
    (frames,) = kinds_named(["frames"])
    check_folder(folder, LIVER, (frames,))
    data = load_slices(folder, LIVER, View(32, pixel_mm=2.0), (frames,), (PRESENCE,))
    assert data.cases == ("a",), "the scan without a frame is left out"
    assert data.targets.presence[:, 0].tolist() == [0, 1, 0, 1], "what other kinds say is read beside it"
    batch = data.batch(0, 0, range(4))
    assert batch.targets.pixels.unique().tolist() == [0, 255]
    assert batch.targets.pixels.flatten(1).any(dim=1).all(), "every sample bears a frame"


def test_a_folder_without_it_is_refused_in_its_own_words(folder: Path) -> None:
    (folder / "frames.csv").unlink()
    with pytest.raises(WssegError, match="has no frames"):
        load_slices(folder, LIVER, View(32), kinds_named(["frames"]))
    with pytest.raises(WssegError, match="labels: no scan has a frame"):
        check_folder(folder, LIVER, kinds_named(["frames"]))
    with pytest.raises(WssegError, match=r'label kind "lines" is unknown, known are: .*frames'):
        kinds_named(["lines"])
