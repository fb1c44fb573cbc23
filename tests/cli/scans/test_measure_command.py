"""``wsseg measure`` of a DICOM cine, whose masks a stand-in for the model makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from cine import write_cine
from conftest import metadata_of
from wsseg.cli.scans.measure import measure
from wsseg.errors import WssegError
from wsseg.images.volume import SliceGrid, Volume
from wsseg.inference.quality.dice import SIGNS, PredictedDice
from wsseg.inference.quality.headers import check_made
from wsseg.inference.result import Segmentation
from wsseg.models.package import ModelPackage

TIMES = 6


class Bright:
    """Calls bright voxels the cavity and those half as bright its wall."""

    def __init__(self, *given: object) -> None:
        metadata = metadata_of("pclmix", {}, ("left ventricle", "wall"))
        labels = metadata.wsseg.labels
        labels["left ventricle"] = labels["left ventricle"].model_copy(update={"cavity": True})
        self.package = ModelPackage("heart", Path(), metadata)

    def __call__(self, scan: Volume, force: bool = False, **given: object) -> Segmentation:
        if scan.made and not force:
            check_made(scan.made, self.package)
        voxels = scan.voxels
        mask = scan.like(np.select([voxels > 150, voxels > 60], [1, 2]).astype(np.uint8))
        parts: dict[str, Any] = {
            "presence": np.ones((2, 3), np.float32),
            "uncertainty": mask,
            "unmarked": np.zeros((2, 3), np.bool_),
            "signs": np.zeros((2, len(SIGNS))),
        }
        parts["predicted_dice"] = {name: PredictedDice(0.9, None, "masks") for name in self.package.labels.names}
        return Segmentation(mask, self.package.labels, **parts, grid=SliceGrid.of(scan))


@pytest.fixture
def beat(monkeypatch: pytest.MonkeyPatch) -> NDArray[np.int16]:
    monkeypatch.setattr("wsseg.inference.segmenter.Segmenter", Bright)
    x, y, _, time = np.meshgrid(np.arange(32), np.arange(30), np.arange(3), np.arange(TIMES), indexing="ij")
    radius = np.hypot(x - 16, y - 15)
    cavity = 8 + 3 * np.cos(2 * np.pi * time / TIMES)
    beat = np.select([radius < cavity, radius < 13], [200, 100], 5) + np.random.default_rng(0).integers(0, 9, x.shape)
    return beat.astype(np.int16)


@pytest.fixture
def cine(tmp_path: Path, beat: NDArray[np.int16]) -> Path:
    return write_cine(tmp_path / "cine", beat)


def test_masks_and_report_go_to_the_archive_together(
    cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored: list[Path] = []

    class Archive:
        def __init__(self, url: str) -> None:
            assert url == "http://archive/dicom-web"

        def store(self, file: Path) -> None:
            stored.append(file)

    monkeypatch.setattr("wsseg.archive.web.client.Pacs", Archive)
    out, facts = tmp_path / "masks", tmp_path / "heart.json"
    measure([cine], out=out, json_file=facts, picture=tmp_path / "curve.png", send="http://archive/dicom-web")
    frames = list(json.loads(facts.read_text("utf-8"))["frames"].values())
    assert len(frames) == TIMES
    assert [frame.get("phase") for frame in frames] == ["ED", None, None, "ES", None, None]
    assert [dcmread(file).Modality for file in stored] == ["SEG", "SEG", "SR"]
    assert sorted(out.iterdir()) == sorted(stored)
    assert len({dcmread(file).StudyInstanceUID for file in stored}) == 1
    assert (tmp_path / "curve.png").exists()


def test_only_dicom_goes_to_an_archive(cine: Path) -> None:
    with pytest.raises(WssegError, match=r"--send: .* needs --out"):
        measure([cine], send="http://archive/dicom-web")


def test_a_picture_that_is_no_png_is_refused_before_anything_is_computed(cine: Path, tmp_path: Path) -> None:
    with pytest.raises(WssegError, match="is written as PNG"):
        measure([cine], picture=tmp_path / "curve.pdf")


def test_another_modality_is_refused_unless_forced(beat: NDArray[np.int16], tmp_path: Path) -> None:
    folder, facts = write_cine(tmp_path / "ct", beat, Modality="CT"), tmp_path / "heart.json"
    with pytest.raises(WssegError, match="Modality: the scan's is CT, heart reads MR"):
        measure([folder], json_file=facts)
    assert not facts.exists()
    measure([folder], json_file=facts, force=True)
    assert facts.exists()
