from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from conftest import REPOSITORY, MakePackage, metadata_of
from wsseg.cli.scans.archive import _filters
from wsseg.errors import NotFoundError, WssegError
from wsseg.files import PART
from wsseg.methods.registry import BACKBONES, METHODS, create_method, load_method, method_class
from wsseg.models.card import model_card
from wsseg.models.package import METADATA, WEIGHTS, Recipe, dicom_modality, is_ct, read_package
from wsseg.models.shelf import find_package, package_names


def test_written_package_reads_back_in_half_precision(make_package: MakePackage) -> None:
    package = make_package()
    assert package.labels.names == ("tumor",)
    assert package.trained
    fresh = create_method(package).state_dict()
    assert {name: tensor.shape for name, tensor in package.weights().items()} == {n: t.shape for n, t in fresh.items()}
    stored = (package.folder / WEIGHTS).stat().st_size
    assert stored < 2.2 * sum(tensor.numel() for tensor in fresh.values())


def test_writing_over_a_package_is_refused_and_leaves_no_draft(make_package: MakePackage) -> None:
    package = make_package()
    before = sorted(package.folder.parent.iterdir())
    with pytest.raises(WssegError, match="cannot be written"):
        make_package()
    assert sorted(package.folder.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        (("version",), None, "version"),
        (("wsseg", "format"), 3, "wsseg.format"),
        (("wsseg", "size"), 7, "wsseg.size"),
        (("wsseg", "axis"), 3, "wsseg.axis"),
        (("wsseg", "labels"), {}, "labels: 0 given"),
        (("wsseg", "flavour"), 1, "wsseg.flavour"),
        (("wsseg", "labels"), {"background": {}}, "wsseg.labels.background"),
        (("wsseg", "method"), "magic", 'method "magic" is unknown'),
        (("wsseg", "settings"), {"draws": 0}, "settings.draws"),
        (("wsseg", "settings"), {"width": 3}, "settings.width"),
        (("wsseg", "inside"), {"tumor": "skull"}, "inside tells which piece is kept, and needs largest_component"),
    ],
)
def test_wrong_fields_are_named(
    make_package: MakePackage, field: tuple[str, ...], value: object, sentence: str
) -> None:
    package = make_package()
    path = package.folder / METADATA
    content = json.loads(path.read_text(encoding="utf-8"))
    place = content
    for key in field[:-1]:
        place = place[key]
    place[field[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(WssegError, match=sentence) as caught:
        create_method(read_package(package.folder))
    assert str(path) in str(caught.value) or "labels" in str(caught.value)


@pytest.mark.parametrize(
    ("inside", "sentence"),
    [
        ({"a": "skull"}, "a in skull are not both among the labels"),
        ({"a": "a"}, "a lies in itself"),
        ({"c": "a", "a": "b", "b": "a"}, "lies in itself"),
    ],
)
def test_classes_lie_in_classes_without_a_circle(inside: dict[str, str], sentence: str) -> None:
    recipe = metadata_of("cdm", {}, ("a", "b", "c")).wsseg.model_dump() | {"largest_component": True}
    assert Recipe.model_validate(recipe | {"inside": {"c": "b", "b": "a"}}).inside == {"c": "b", "b": "a"}
    with pytest.raises(ValueError, match=sentence):
        Recipe.model_validate(recipe | {"inside": inside})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_metadata_that_is_not_json_is_one_sentence(make_package: MakePackage, content: bytes) -> None:
    package = make_package()
    (package.folder / METADATA).write_bytes(content)
    with pytest.raises(WssegError, match=r"metadata\.json"):
        read_package(package.folder)


def test_weights_missing_damaged_or_of_another_network(make_package: MakePackage) -> None:
    package = make_package()
    path = package.folder / WEIGHTS
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not safetensors"):
        path.write_bytes(content)
        with pytest.raises(WssegError, match="not a readable safetensors file"):
            load_method(package)
    save_file({"other": torch.zeros(2)}, path)
    with pytest.raises(WssegError, match="do not fit the settings"):
        load_method(package)
    path.unlink()
    with pytest.raises(WssegError, match="not trained"):
        load_method(package)


@pytest.mark.parametrize("name", ["cldf-glioma-flair", "cdm-glioma-flair", "cam-glioma-flair"])
def test_shipped_packages_are_whole_small_and_honest(name: str) -> None:
    assert name in package_names()
    package = read_package(REPOSITORY / "model" / name)
    assert (package.folder / WEIGHTS).stat().st_size <= 16_000_000
    load_method(package)
    assert package.recipe.figures
    assert package.recipe.training is not None
    assert package.recipe.training.scans == 64
    for part in ("LICENSE", "docs/README.md", "configs/inference.json"):
        assert (package.folder / part).stat().st_size
    card = (package.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert card == model_card(name, package.metadata)


def test_every_method_has_settings_that_stand_by_themselves() -> None:
    for name in METHODS:
        metadata_of(name, method_class(name).settings_type().model_dump(mode="json"))


def test_metadata_keeps_what_monai_wrote(make_package: MakePackage) -> None:
    package = make_package()
    content = json.loads((package.folder / METADATA).read_text(encoding="utf-8"))
    content["network_data_format"] = {"inputs": {}}
    (package.folder / METADATA).write_text(json.dumps(content), encoding="utf-8")
    again = json.loads(read_package(package.folder).metadata.model_dump_json())
    assert again["network_data_format"] == {"inputs": {}}


def test_a_folder_without_metadata_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"is .* a model package"):
        read_package(tmp_path)


def test_what_killed_processes_left_beside_versions_goes_with_the_next(make_package: MakePackage) -> None:
    folder = make_package().folder.parent
    left = [folder / f"{PART}0123456789abcdef", folder / ".draft-left"]
    left[0].touch()
    left[1].mkdir()
    for path in left:
        os.utime(path, (0, 0))
    make_package(name="other")
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize(
    ("reads", "word"),
    [("MR", "MR"), ("MR, T2-weighted", "MR"), ("MR,T2", "MR"), (" ct ", "CT"), ("CTA", "CTA"), ("", "")],
)
def test_what_a_model_reads_begins_with_dicoms_word(reads: str, word: str) -> None:
    assert dicom_modality(reads) == word
    assert is_ct(reads) is (word == "CT")


def test_an_archive_is_asked_for_series_of_each_models_modality() -> None:
    """Whatever words follow it: "MR, T2-weighted" finds no series."""
    volumes = [recipe for name in package_names() if not (recipe := find_package(name).recipe).colour]
    found = {_filters([], recipe)["Modality"] for recipe in volumes if recipe.method not in BACKBONES}
    assert found == {"MR", "CT"}
