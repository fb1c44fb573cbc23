"""Points of 3D Slicer's SmartEdit panel, as the task is handed them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import small_package
from wsseg.data.phantom import make_phantom
from wsseg.errors import WssegError
from wsseg.files import home
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.table import read_volume
from wsseg.labels.database.store import LabelStore
from wsseg.labels.project import Project
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package, publish
from wsseg.server.compute import Compute
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.studies import Studies
from wsseg.server.tasks.points import PointsTask
from wsseg.server.tasks.request import InferRequest, Source

INSIDE, OUTSIDE = [[20, 30, 3], [40, 30, 4]], [[30, 30, 3]]


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[Labels]:
    folder = tmp_path / "studies"
    folder.mkdir()
    scan, _ = make_phantom(0, size=64)
    write_nifti(folder / "head.nii.gz", scan.voxels, scan.affine)
    store = LabelStore.at(tmp_path / "home", Project.of_folder(folder))
    yield Labels(store, Studies(ScanFolder(folder)))
    store.close()


@pytest.fixture(scope="module")
def pointed() -> ModelPackage:
    small_package(home() / "models" / "pointed" / "0.1", "union")
    publish(home() / "models", "pointed", "0.1")
    return find_package("pointed")


@pytest.fixture
def task(pointed: ModelPackage, labels: Labels) -> PointsTask:
    return PointsTask([pointed], Compute(), labels)


def run(task: PointsTask, labels: Labels, stored: bool = True, **more: Any) -> Any:
    asked = {"model": "points", "image": "head", "segment": "tumor", "foreground": INSIDE, "background": OUTSIDE}
    path = labels.studies.path("head")
    file, told = task(InferRequest.parse(asked | more), Source(path, "head" if stored else ""))
    found = read_volume(file).voxels
    file.unlink()
    assert told["label_names"] == {"tumor": 1}
    return found


def test_points_are_respected_and_forgotten(task: PointsTask, labels: Labels) -> None:
    for stored in (True, False):
        mask = run(task, labels, stored)
        assert [int(mask[tuple(point)]) for point in INSIDE + OUTSIDE] == [1, 1, 0]
    assert labels.store.drawings.of(labels.identity("head")) == []


def test_points_are_kept_once_where_that_is_ticked(task: PointsTask, labels: Labels) -> None:
    for _ in range(2):
        run(task, labels, save_as_label=True, annotator="ada")
    kept = labels.store.drawings.of(labels.identity("head"))
    assert [(each.drawing.label, each.annotator) for each in kept] == [
        ("tumor", "ada"),
        ("tumor", "ada"),
        ("background", "ada"),
    ]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"segment": "liver"}, 'label: "liver" is no class of pointed, name the segment tumor'),
        ({"foreground": [[64, 0, 0]]}, r"points: \[64, 0, 0\] lies outside the scan"),
        ({"segment_with": "nothing"}, 'segment_with: "nothing" is unknown, use one of: pointed'),
        ({"foreground": [[1, 2]]}, "foreground"),
    ],
)
def test_refusals(task: PointsTask, labels: Labels, more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(WssegError, match=sentence):
        run(task, labels, **more)
