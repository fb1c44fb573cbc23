from __future__ import annotations

from pathlib import Path

import pytest

from wsseg.data.kinds.registry import KINDS
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.methods.registry import create_method
from wsseg.models.shelf import find_package, package_names
from wsseg.server.jobs.request import chain
from wsseg.training.planning.new import new_package
from wsseg.training.planning.plan import Plan


@pytest.mark.parametrize(
    ("method", "kind"),
    [("cdm", "presence"), ("cldf", "presence"), ("cam", "presence"), ("pclmix", "scribbles"), ("textdiff", "masks")],
)
def test_a_new_task_is_an_untrained_package(method: str, kind: str) -> None:
    made = new_package(f"liver-{method}", ["liver", "tumor"], "MR", home() / "models", method)
    found = find_package(f"liver-{method}")
    assert found == made
    assert not found.trained
    assert found.labels.names == ("liver", "tumor")
    assert found.recipe.method == method
    method_made = create_method(found)
    assert [kind.name for kind in method_made.learns_from] == [kind]
    assert set(method_made.frozen) == set(found.recipe.parents)
    if method == "pclmix":
        assert method_made.settings.crop == found.recipe.size, "an organ may fill the slice"
    colors = {label.color for label in found.recipe.labels.values()}
    assert len(colors) == 2


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    for name, labels, modality, reason in (
        ("cdm-glioma-flair", ["a"], "MR", "is taken"),
        ("Liver MR", ["a"], "MR", "lower case letters"),
        ("../up", ["a"], "MR", "lower case letters"),
        ("liver", [], "MR", "between 1 and 254"),
        ("liver", ["a", "a"], "MR", "distinct"),
        ("liver", ["a"], " ", "DICOM's word"),
        ("liver", ["a"], "MRI", '--modality "MRI": begins with DICOM\'s word'),
        ("liver", ["a"], "T2 MR", "MR, CT, US"),
    ):
        with pytest.raises(WssegError, match=reason):
            new_package(name, labels, modality, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert new_package("liver", ["a"], "MR, T2-weighted", tmp_path).recipe.modality == "MR, T2-weighted"


def test_by_default_a_model_learns_from_labels_of_any_kind_and_is_planned_when_there_are_some() -> None:
    made = new_package("liver-ct", ["liver"], "CT", home() / "models")
    assert not made.recipe.planned
    assert create_method(made).learns_from == tuple(KINDS.values())


def test_cldf_is_made_with_the_models_that_it_is_built_on() -> None:
    made = new_package("spleen", ["spleen", "tumor"], "MR", home() / "models", "cldf")
    method = create_method(made)
    for frozen, parent in made.recipe.parents.items():
        built_on = find_package(parent.package)
        assert built_on.labels == made.labels
        method.get_submodule(frozen).load_state_dict(create_method(built_on).get_submodule(parent.part).state_dict())
    assert chain(made) == ["spleen-cdm", "spleen-cam", "spleen"]


def test_nothing_is_made_where_a_model_that_it_is_built_on_cannot_be() -> None:
    new_package("lung-cam", ["lung"], "MR", home() / "models", "cam")
    with pytest.raises(WssegError, match='"lung-cam" is taken'):
        new_package("lung", ["lung"], "MR", home() / "models", "cldf")
    assert not {"lung", "lung-cdm"} & set(package_names())


def test_an_unknown_method_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WssegError, match="method dots: is unknown"):
        new_package("liver", ["liver"], "MR", tmp_path, "dots")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_the_union_learners_alone(tmp_path: Path) -> None:
    plan = Plan(size=64, crop=64, bright=2.5, windows=(), mirrored=False, reasons=())
    with pytest.raises(WssegError, match="nothing is chosen for it"):
        new_package("liver", ["liver"], "MR", tmp_path, "cdm", plan=plan)
    assert list(tmp_path.iterdir()) == []


def test_cldf_is_made_in_any_folder(tmp_path: Path) -> None:
    new_package("kidney", ["kidney"], "MR", tmp_path, "cldf")
    assert {folder.name for folder in tmp_path.iterdir()} == {"kidney", "kidney-cam", "kidney-cdm"}
