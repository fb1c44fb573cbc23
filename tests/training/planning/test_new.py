from __future__ import annotations

from pathlib import Path

import pytest

from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.methods.registry import adopt_parents, create_method
from wsseg.models.shelf import find_package
from wsseg.training.planning.new import new_package


@pytest.mark.parametrize(
    ("learns_from", "method"), [("presence", "cdm"), ("scribbles", "pclmix"), ("masks", "textdiff")]
)
def test_a_new_task_is_an_untrained_package(learns_from: str, method: str) -> None:
    made = new_package(f"liver-{method}", ["liver", "tumor"], "MR", home() / "models", learns_from)
    found = find_package(f"liver-{method}")
    assert found == made
    assert not found.trained
    assert found.labels.names == ("liver", "tumor")
    assert found.recipe.method == method
    method_made = create_method(found)
    assert [kind.name for kind in method_made.learns_from] == [learns_from]
    assert set(adopt_parents(method_made, found, method_made.frozen)) == set(found.recipe.parents)
    if learns_from == "scribbles":
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
        ("liver", ["a"], " ", "--modality is empty"),
    ):
        with pytest.raises(WssegError, match=reason):
            new_package(name, labels, modality, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "reason"), [("boxes", "no method is made for boxes alone"), ("dots", "is unknown")])
def test_a_kind_that_nothing_learns_from_alone_is_refused(kind: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(WssegError, match=reason):
        new_package("liver", ["liver"], "MR", tmp_path, kind)
    assert list(tmp_path.iterdir()) == []
