from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import MakePackage
from wsseg.data.phantom import write_phantom_data
from wsseg.errors import WssegError
from wsseg.images.folder import scan_files
from wsseg.images.scan import read_scan
from wsseg.inference.segmenter import Segmenter
from wsseg.models.calibration import CALIBRATION, CALIBRATION_CARD, read_calibration, write_calibration
from wsseg.models.package import ModelPackage
from wsseg.training.assessment.calibrate import LEAST, calibration_of, compare

SCANS = 10


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    write_phantom_data(folder, cases=SCANS, seed=11, size=64)
    return folder


@pytest.fixture
def package(make_package: MakePackage) -> ModelPackage:
    return make_package("cam")


def test_masks_are_compared_with_masks_and_the_rest_follows(package: ModelPackage, heads: Path) -> None:
    compared = compare(Segmenter(package.folder, "cpu", calibrated=False), heads)
    assert list(compared) == list(scan_files(heads))
    assert {each.of for each in compared.values()} == {"masks"}
    found = calibration_of(compared, ["tumor"])
    assert found is not None
    assert (found.scans, found.of) == (SCANS, "masks")
    assert found.classes["tumor"].below is not None
    assert found.classes["tumor"].shown == np.mean([each.shown[0] for each in compared.values()])
    assert found.doubt is not None
    assert found.doubt.calibrated <= found.doubt.plain
    write_calibration(package.folder, found)
    assert read_calibration(package.folder) == found
    assert "Reliability diagram" in (package.folder / CALIBRATION_CARD).read_text("utf-8")
    told = Segmenter(package.folder, "cpu")(read_scan(next(iter(scan_files(heads).values()))))
    dice = told.predicted_dice["tumor"]
    assert dice.at_least is not None
    assert 0 <= dice.at_least <= dice.value <= 1
    assert f"{dice}".endswith("in nine of ten scans like this, of masks")
    assert len(told.facts()["look_at"]) <= 5


def test_without_masks_slices_said_to_show_a_class_are_compared(
    package: ModelPackage, heads: Path, tmp_path: Path
) -> None:
    for file in heads.iterdir():
        if "_label." not in file.name:
            shutil.copy(file, tmp_path)
    compared = compare(Segmenter(package.folder, "cpu", calibrated=False), tmp_path, list(scan_files(tmp_path))[:LEAST])
    assert {each.of for each in compared.values()} == {"presence"}
    assert all(0 <= dice <= 1 or np.isnan(dice) for each in compared.values() for dice in each.dice)
    found = calibration_of(compared, ["tumor"])
    assert found is not None
    assert (found.of, found.doubt, found.slope) == ("presence", None, 1.0)
    assert found.classes["tumor"].below is None


def test_of_too_few_patients_nothing_is_said(package: ModelPackage, heads: Path) -> None:
    few = list(scan_files(heads))[: LEAST - 1]
    compared = compare(Segmenter(package.folder, "cpu", calibrated=False), heads, few)
    assert len(compared) == LEAST - 1
    assert calibration_of(compared, ["tumor"]) is None


def test_scans_without_labels_tell_nothing(package: ModelPackage, heads: Path, tmp_path: Path) -> None:
    shutil.copy(next(iter(scan_files(heads).values())), tmp_path)
    assert calibration_of(compare(Segmenter(package.folder, "cpu", calibrated=False), tmp_path), ["tumor"]) is None


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}'])
def test_a_damaged_calibration_is_named(package: ModelPackage, content: str) -> None:
    (package.folder / CALIBRATION).write_text(content, encoding="utf-8")
    with pytest.raises(WssegError, match=r"calibration\.json: is damaged"):
        Segmenter(package.folder, "cpu")
