from __future__ import annotations

import pytest
from pydicom import Dataset

from conftest import MakePackage
from wsseg.errors import WssegError
from wsseg.inference.quality.headers import check_header, regions
from wsseg.models.package import ModelPackage


def of_part(package: ModelPackage, part: str) -> ModelPackage:
    recipe = package.recipe.model_copy(update={"body_part": part})
    return ModelPackage(package.name, package.folder, package.metadata.model_copy(update={"wsseg": recipe}))


def header(**attributes: str) -> Dataset:
    found = Dataset()
    for keyword, value in attributes.items():
        setattr(found, keyword, value)
    return found


def test_another_modality_is_refused(make_package: MakePackage) -> None:
    with pytest.raises(WssegError, match="Modality: the scan's is CT, small reads MR FLAIR"):
        check_header(header(Modality="CT"), make_package())


@pytest.mark.parametrize("said", [{}, {"Modality": ""}, {"Modality": "OT"}, {"Modality": "MR"}])
def test_a_header_that_says_nothing_against_it_passes(make_package: MakePackage, said: dict[str, str]) -> None:
    check_header(header(**said), make_package())


@pytest.mark.parametrize(("made_for", "part"), [("HEART", "BRAIN"), ("BRAIN", "ABDOMEN"), ("LIVER", "HIP")])
def test_another_body_part_is_refused(make_package: MakePackage, made_for: str, part: str) -> None:
    with pytest.raises(WssegError, match=f"BodyPartExamined: the scan's is {part}, small reads {made_for}"):
        check_header(header(BodyPartExamined=part), of_part(make_package(), made_for))


@pytest.mark.parametrize(
    ("made_for", "part"),
    [("HEART", "CHEST"), ("BRAIN", "HEAD"), ("BRAIN", "MRI BRAIN"), ("LIVER", "CHESTABDPELVIS"), ("BRAIN", "XYZ")],
)
def test_a_part_that_may_hold_it_passes(make_package: MakePackage, made_for: str, part: str) -> None:
    check_header(header(BodyPartExamined=part), of_part(make_package(), made_for))


def test_words_are_whole(make_package: MakePackage) -> None:
    """There is an EAR in HEART and an ARM in FOREARM."""
    assert regions("HEART") == {"chest"}
    assert regions("FOREARM") == {"arm"}
