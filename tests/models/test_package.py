from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from conftest import REPOSITORY, MakePackage, metadata_of
from wsseg.errors import NotFoundError, WssegError
from wsseg.files import home
from wsseg.methods.registry import METHODS, create_method, load_method, method_class
from wsseg.models.package import (
    CURRENT,
    METADATA,
    WEIGHTS,
    find_package,
    package_names,
    publish,
    read_package,
    roll_back,
    versions,
)


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
        (("wsseg", "format"), 2, "wsseg.format"),
        (("wsseg", "size"), 7, "wsseg.size"),
        (("wsseg", "axis"), 3, "wsseg.axis"),
        (("wsseg", "labels"), {}, "labels: 0 given"),
        (("wsseg", "flavour"), 1, "wsseg.flavour"),
        (("wsseg", "labels"), {"background": {}}, "wsseg.labels.background"),
        (("wsseg", "method"), "magic", 'method "magic" is unknown'),
        (("wsseg", "settings"), {"draws": 0}, "settings.draws"),
        (("wsseg", "settings"), {"width": 3}, "settings.width"),
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
    path.write_text(json.dumps(content))
    with pytest.raises(WssegError, match=sentence) as caught:
        create_method(read_package(package.folder))
    assert str(path) in str(caught.value) or "labels" in str(caught.value)


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


def test_publish_and_roll_back_swap_one_small_file(published: str) -> None:
    from conftest import small_package

    models = home() / "models"
    assert find_package(published).folder == models / published / "0.1"
    small_package(models / published / "0.2")
    publish(models, published, "0.2")
    assert find_package(published).folder.name == "0.2"
    publish(models, published, "0.1")
    assert (models / published / CURRENT).read_text(encoding="utf-8") == "0.1\n"
    with pytest.raises(NotFoundError, match="no version 9"):
        publish(models, published, "9")
    assert find_package(published).folder.name == "0.1"


def test_versions_are_listed_and_rolled_back_to_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conftest import small_package

    monkeypatch.setenv("WSSEG_HOME", str(tmp_path))
    name = "cam-glioma-flair"
    shipped = find_package(name)
    stamps = {"20260101.100000": (0.5, 0.6), "20260101.120000": (None, None), "20260102.120000": (0.7, 0.8)}
    for stamp, scores in stamps.items():
        folder = home() / "models" / name / f"0.1.0+{stamp}"
        metadata = small_package(folder, "cam").metadata
        found = dict(zip(("held-back score", "held-back score before"), scores, strict=True))
        metadata.wsseg.trained = {"scans": 5, **{what: score for what, score in found.items() if score}}
        metadata.version, metadata.changelog = folder.name, {folder.name: "trained"}
        (folder / METADATA).write_text(metadata.model_dump_json(), encoding="utf-8")
    publish(home() / "models", name, "0.1.0+20260101.120000")
    (home() / "models" / name / "0.1.0+20260103.120000" / "configs").mkdir(parents=True)
    (home() / "models" / name / "0.1.0+20260103.120000" / METADATA).write_text("{")
    newest, older, worse, first = versions(name)
    assert (newest.version, newest.current, newest.shipped) == ("0.1.0+20260102.120000", False, False)
    assert (newest.scans, newest.score, newest.before) == (5, 0.7, 0.8)
    assert newest.message == "trained; scored worse than before, so not published by itself"
    assert (older.current, older.score, older.message) == (True, None, "trained")
    assert older.time == datetime(2026, 1, 1, 12)
    assert (first.version, first.current, first.shipped, first.time) == ("0.1.0", False, True, None)
    assert worse.worse
    assert roll_back(name).shipped, "the one before was kept back for being worse"
    assert (home() / "models" / name / CURRENT).read_text(encoding="utf-8") == "shipped\n"
    assert find_package(name).folder == shipped.folder
    assert name in package_names()
    with pytest.raises(WssegError, match="no version before the one in use"):
        roll_back(name)
    with pytest.raises(NotFoundError, match=r"no version 9, there are: 0\.1\.0\+20260102"):
        roll_back(name, "9")
    assert roll_back(name, newest.version).current
    assert find_package(name).folder.name == newest.version
    publish(home() / "models", name, first.version)
    assert find_package(name).folder == shipped.folder


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="cdm-glioma-flair"):
        find_package("nope")
    with pytest.raises(NotFoundError):
        find_package("../model/cdm-glioma-flair")


@pytest.mark.parametrize("name", ["cldf-glioma-flair", "cdm-glioma-flair", "cam-glioma-flair"])
def test_shipped_packages_are_whole_small_and_honest(name: str) -> None:
    assert name in package_names()
    package = read_package(REPOSITORY / "model" / name)
    assert (package.folder / WEIGHTS).stat().st_size <= 16_000_000
    load_method(package)
    assert package.recipe.figures
    assert package.recipe.trained["scans"] == 64
    for part in ("LICENSE", "docs/README.md", "configs/inference.json"):
        assert (package.folder / part).stat().st_size
    card = (package.folder / "docs" / "README.md").read_text(encoding="utf-8")
    for figure in package.recipe.figures:
        assert f"{figure.value:.3f}" in card


def test_every_method_has_settings_that_stand_by_themselves() -> None:
    for name in METHODS:
        metadata_of(name, method_class(name).settings_type().model_dump(mode="json"))


def test_metadata_keeps_what_monai_wrote(make_package: MakePackage) -> None:
    package = make_package()
    content = json.loads((package.folder / METADATA).read_text(encoding="utf-8"))
    content["network_data_format"] = {"inputs": {}}
    (package.folder / METADATA).write_text(json.dumps(content))
    again = json.loads(read_package(package.folder).metadata.model_dump_json())
    assert again["network_data_format"] == {"inputs": {}}


def test_a_folder_without_metadata_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"is .* a model package"):
        read_package(tmp_path)
