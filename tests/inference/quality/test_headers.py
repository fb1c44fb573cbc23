from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cine import write_cine
from conftest import MakePackage
from wsseg.errors import WssegError
from wsseg.images.dicom.series import made_in, read_series
from wsseg.images.volume import Made
from wsseg.inference.quality.headers import check_made, regions
from wsseg.inference.segmenter import Segmenter
from wsseg.models.package import ModelPackage


def of_part(package: ModelPackage, part: str) -> ModelPackage:
    recipe = package.recipe.model_copy(update={"body_part": part})
    return ModelPackage(package.name, package.folder, package.metadata.model_copy(update={"wsseg": recipe}))


def test_another_modality_is_refused(make_package: MakePackage) -> None:
    with pytest.raises(WssegError, match="Modality: the scan's is CT, small reads MR FLAIR"):
        check_made(Made("CT"), make_package())


@pytest.mark.parametrize("modality", ["", "OT", "MR", "mr "])
def test_a_header_that_says_nothing_against_it_passes(make_package: MakePackage, modality: str) -> None:
    check_made(Made(modality), make_package())


@pytest.mark.parametrize(("made_for", "part"), [("HEART", "BRAIN"), ("BRAIN", "ABDOMEN"), ("LIVER", "HIP")])
def test_another_body_part_is_refused(make_package: MakePackage, made_for: str, part: str) -> None:
    with pytest.raises(WssegError, match=f"BodyPartExamined: the scan's is {part}, small reads {made_for}"):
        check_made(Made(body_part=part), of_part(make_package(), made_for))


@pytest.mark.parametrize(
    ("made_for", "part"),
    [("HEART", "CHEST"), ("BRAIN", "HEAD"), ("BRAIN", "MRI BRAIN"), ("LIVER", "CHESTABDPELVIS"), ("BRAIN", "XYZ")],
)
def test_a_part_that_may_hold_it_passes(make_package: MakePackage, made_for: str, part: str) -> None:
    check_made(Made(body_part=part), of_part(make_package(), made_for))


def test_words_are_whole(make_package: MakePackage) -> None:
    """There is an EAR in HEART and an ARM in FOREARM."""
    assert regions("HEART") == {"chest"}
    assert regions("FOREARM") == {"arm"}


def test_whatever_segments_a_series_refuses_it_unless_forced(make_package: MakePackage, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (32, 32, 3, 1)).astype(np.int16)
    folder = write_cine(tmp_path / "ct", voxels, Modality="CT", BodyPartExamined="HEAD")
    scan = read_series(folder).volume
    assert scan.made == made_in(folder) == Made("CT", "HEAD")
    segmenter = Segmenter(make_package().folder, "cpu")
    with pytest.raises(WssegError, match="Modality: the scan's is CT"):
        segmenter(scan)
    assert segmenter(scan, force=True).mask.made is None
