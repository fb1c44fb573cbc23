"""Which model segments what was sent, where rules name several or the header lacks what they ask for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from conftest import small_package
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.images.dicom.series import DicomScan
from wsseg.images.volume import Volume
from wsseg.inference.quality.fits import Fits
from wsseg.models.package import write_package
from wsseg.models.shelf import publish
from wsseg.server.compute import Compute
from wsseg.server.node.choice import choose_model
from wsseg.server.node.rules import Rules

SCAN = Volume(np.arange(192, dtype=np.float32).reshape(8, 8, 3), np.eye(4))


class Judging(Compute):
    """Knows how well the scan fits each model without computing anything."""

    def __init__(self, **p: float | None) -> None:
        super().__init__()
        self._p = p
        self.asked: list[str] = []

    def fits(self, model: str, device: str, scan: Volume) -> Fits | None:
        self.asked.append(model)
        p = self._p[model]
        return None if p is None else Fits(p, f"as {model} sees it")


@pytest.fixture(scope="module", autouse=True)
def models(work_home: Path) -> None:
    """Of the brain, and one of the heart."""
    for name, part in {"brain1": "brain", "brain2": "brain", "heart": "heart"}.items():
        folder = home() / "models" / name / "0.1"
        metadata = small_package(folder).metadata.model_copy(deep=True)
        metadata.wsseg.body_part = part
        shutil.rmtree(folder)
        write_package(folder, metadata, {}, "card", "licence")
        publish(home() / "models", name, "0.1")


def chosen(compute: Compute, table: str, **header: str) -> str:
    file = home() / "rules.csv"
    file.write_text(table, encoding="utf-8")
    told = Dataset()
    for keyword, value in {"Modality": "MR", **header}.items():
        setattr(told, keyword, value)
    return choose_model(Rules.read(file), compute, "cpu", DicomScan(SCAN, "1.2", (told,)))


TABLE = """modality,body part,description,model
MR,brain|head,,brain1
MR,brain|head,flair,brain2
MR,heart,,heart
"""


def test_one_rule_that_is_met_needs_no_test() -> None:
    compute = Judging()
    assert chosen(compute, TABLE, BodyPartExamined="HEAD", SeriesDescription="T1") == "brain1"
    assert chosen(compute, TABLE, BodyPartExamined="HEART", SeriesDescription="cine") == "heart"
    assert compute.asked == []


def test_of_several_the_one_that_the_scan_fits_best() -> None:
    header = {"BodyPartExamined": "HEAD", "SeriesDescription": "AX FLAIR"}
    assert chosen(Judging(brain1=0.2, brain2=0.6), TABLE, **header) == "brain2"
    assert chosen(Judging(brain1=0.6, brain2=0.2), TABLE, **header) == "brain1"
    assert chosen(Judging(brain1=0.01, brain2=None), TABLE, **header) == "brain2"
    assert chosen(Judging(brain1=None, brain2=0.1), TABLE, **header) == "brain2"


def test_without_a_body_part_the_scan_decides() -> None:
    compute = Judging(brain1=0.01, brain2=0.02, heart=0.3)
    assert chosen(compute, TABLE) == "heart"
    assert compute.asked == ["brain1", "brain2", "heart"]
    alone = "modality,body part,model\nMR,heart,heart\n"
    assert chosen(Judging(heart=0.3), alone) == "heart"
    with pytest.raises(WssegError, match="fits none of the models"):
        chosen(Judging(heart=0.01), alone)


def test_what_fits_none_is_set_aside_with_the_reason() -> None:
    with pytest.raises(WssegError, match=r"fits none .* brain1, p = 0.01: as brain1 sees it; brain2, p = 0.02"):
        chosen(Judging(brain1=0.01, brain2=0.02), TABLE, BodyPartExamined="HEAD", SeriesDescription="FLAIR")


def test_what_the_header_speaks_against_is_not_asked() -> None:
    every = "modality,model\nMR,brain1\nMR,heart\n"
    compute = Judging(brain1=0.9, heart=0.9)
    assert chosen(compute, every, BodyPartExamined="HEART") == "heart"
    assert compute.asked == [], "one is left, and its rule is met"
    with pytest.raises(WssegError, match=r"the scan's is KNEE, brain1 reads brain; .* heart reads heart"):
        chosen(compute, every, BodyPartExamined="KNEE")
    with pytest.raises(WssegError, match="no rule names a model"):
        chosen(compute, every, Modality="CT")


def test_a_model_that_does_not_know_says_so(published: str) -> None:
    assert Compute().fits(published, "cpu", SCAN) is None
