from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from conftest import small_package
from wsseg.errors import NotFoundError, WssegError
from wsseg.files import home
from wsseg.models.package import CURRENT, METADATA
from wsseg.models.record import SCRATCH, TrainingRecord
from wsseg.models.shelf import find_package, package_names, publications, publish, roll_back, versions

TRAINING = TrainingRecord(scans=5, slices=60, seed=0, origin=SCRATCH, seconds=90, hardware="CPU, 2 cores")


def test_publish_and_roll_back_swap_one_small_file(published: str) -> None:
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
    monkeypatch.setenv("WSSEG_HOME", str(tmp_path))
    name = "cam-glioma-flair"
    shipped = find_package(name)
    stamps = {"20260101.100000": (0.5, 0.6), "20260101.120000": (None, None), "20260102.120000": (0.7, 0.8)}
    for stamp, scores in stamps.items():
        folder = home() / "models" / name / f"0.1.0+{stamp}"
        metadata = small_package(folder, "cam").metadata
        metadata.wsseg.training = TRAINING.model_copy(update={"score": scores[0], "before": scores[1]})
        metadata.version, metadata.changelog = folder.name, {folder.name: "trained"}
        (folder / METADATA).write_text(metadata.model_dump_json(), encoding="utf-8")
    publish(home() / "models", name, "0.1.0+20260101.120000")
    (home() / "models" / name / "0.1.0+20260103.120000" / "configs").mkdir(parents=True)
    (home() / "models" / name / "0.1.0+20260103.120000" / METADATA).write_text("{", encoding="utf-8")
    newest, older, worse, first = versions(name)
    assert (newest.version, newest.current, newest.shipped) == ("0.1.0+20260102.120000", False, False)
    assert (newest.scans, newest.score, newest.before) == (5, 0.7, 0.8)
    assert newest.message == "trained; scored worse than before, so not published by itself"
    assert (older.current, older.score, older.message) == (True, None, "trained")
    assert older.time == datetime(2026, 1, 1, 12)
    assert (first.version, first.current, first.shipped, first.time) == ("0.2.0", False, True, None)
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


DAMAGED = {
    "empty": b"",
    "binary": bytes(range(256)),
    "NUL": b"0.1\0",
    "two lines": b"0.1\n0.2",
    "the folder above": b"..",
    "outside": b"../../outside",
    "another model": b"../other/0.1",
    "hidden": b".draft-1",
    "of other letters": "é.1".encode(),
    "as long as a disk": b"0" * 100_000,
}


def missing(pointer: Path) -> None:
    """A version that is not there."""
    pointer.write_text("9.9\n", encoding="utf-8")


def pipe(pointer: Path) -> None:
    """What would be waited for."""
    pointer.unlink()
    os.mkfifo(pointer)


DAMAGES = {name: partial(Path.write_bytes, data=content) for name, content in DAMAGED.items()}


@pytest.mark.parametrize("damage", [*DAMAGES.values(), missing, pipe], ids=[*DAMAGES, "missing", "pipe"])
def test_a_damaged_pointer_is_a_sentence_and_another_version_can_be_put_to_use(
    published: str, damage: Callable[[Path], object]
) -> None:
    models, outside = home() / "models", home() / "outside"
    if not outside.exists():
        small_package(outside)
        small_package(models / "other" / "0.1")
    pointer = models / published / CURRENT
    damage(pointer)
    with pytest.raises(WssegError, match=r"CURRENT: names no version|9\.9"):
        find_package(published)
    assert published in package_names()
    assert published in publications()
    assert not any(version.current for version in versions(published))
    with pytest.raises(WssegError, match=r"no version before the one in use, there are: .*0\.1$"):
        roll_back(published)
    assert roll_back(published, "0.1").current
    assert find_package(published).folder == models / published / "0.1"


@pytest.mark.parametrize("version", ["../../outside", "..", ".", "", "0.1/../0.1", "0.1\n", "a" * 5000, "CURRENT"])
def test_a_version_is_never_a_path(published: str, version: str) -> None:
    models = home() / "models"
    if not (home() / "outside").exists():
        small_package(home() / "outside")
    for use in (partial(publish, models), roll_back):
        with pytest.raises(NotFoundError, match="there is no version"):
            use(published, version)
    assert find_package(published).folder == models / published / "0.1"


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="cdm-glioma-flair"):
        find_package("nope")
    with pytest.raises(NotFoundError):
        find_package("../model/cdm-glioma-flair")
