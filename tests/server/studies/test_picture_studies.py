"""Pictures among the studies, without a server: what is listed, shown, told to models and trained on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import MakePackage, small_package, tissue
from wsseg.data.kinds.registry import MASKS, TEXT
from wsseg.data.preprocess import View
from wsseg.data.slices import load_slices
from wsseg.errors import UnavailableError, WssegError
from wsseg.files import home
from wsseg.images.formats.table import read_volume
from wsseg.images.volume import Volume
from wsseg.labels.database.store import LabelStore
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.values import Mark
from wsseg.models.package import METADATA, ModelPackage, Parent, read_package
from wsseg.models.shelf import publish
from wsseg.server.jobs.jobs import check_labels
from wsseg.server.jobs.request import chain
from wsseg.server.pictures.sprites import Sprite
from wsseg.server.studies.finished import FinishedMask
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.snapshot import write_snapshot
from wsseg.server.studies.studies import Studies
from wsseg.server.tasks.offered import check_models, sound_packages

NUCLEUS = ("nucleus",)
INFO = {"label_info": [{"name": "nucleus"}]}


@pytest.fixture
def labels(tmp_path: Path) -> Iterator[Labels]:
    """Of a folder with a picture of every kind and what lies beside pictures."""
    folder = tmp_path / "studies"
    folder.mkdir()
    picture, mask = tissue(0)
    for name in ("a.png", "b.JPG", "c.jpeg", "d.tif", "e.TIFF"):
        Image.fromarray(picture).save(folder / name)
    Image.fromarray(mask).save(folder / "f.png")
    for name in ("a_label.png", "a_scribble.png"):
        Image.fromarray(255 * mask).save(folder / name)
    (folder / "text.csv").write_text("case,text\n", encoding="utf-8")
    (folder / "notes.xml").write_text("<a/>", encoding="utf-8")
    store = LabelStore.at(tmp_path / "home", Project.of_folder(folder))
    yield Labels(store, Studies(ScanFolder(folder)))
    store.close()


@pytest.fixture
def package(make_package: MakePackage) -> ModelPackage:
    return make_package("textdiff", labels=NUCLEUS)


def finish(labels: Labels, folder: Path, scan: str, mask: np.ndarray) -> None:
    """Submit a mask as viewers do."""
    Image.fromarray(mask).save(folder / "mask.png")
    labels.studies.datastore.save_label(scan, str(folder / "mask.png"), "final", dict(INFO))
    labels.complete(scan, FinishedMask.read(scan, folder / "mask.png", INFO, labels.studies.grid(scan)), NUCLEUS, "ada")


def test_pictures_are_listed_and_masks_beside_them_are_not(labels: Labels, package: ModelPackage) -> None:
    assert labels.studies.names() == ["a", "b", "c", "d", "e", "f"]
    assert {labels.studies.suitability(scan, package.recipe).slices for scan in labels.studies.names()} == {1}
    labels.mark("a", [Mark("nucleus", 0, 1)], package, "ada")
    with pytest.raises(WssegError, match="slice"):
        labels.mark("a", [Mark("nucleus", 1, 1)], package, "ada")
    assert labels.read("a", package).presence.tolist() == [[1]]


def test_of_two_files_of_one_name_the_same_is_listed_always(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.PNG", "a.nii.gz", "a.jpg", "b.png"):
        (tmp_path / name).touch()
    store = ScanFolder(tmp_path)
    assert sorted(store.list_images()) == ["a", "b"]
    assert Path(store.get_image_uri("a")).name == "a.nii.gz"
    (told,) = {record.getMessage() for record in caplog.records if record.name.startswith("wsseg")}
    assert told == "2 files have the name of another scan, they are not listed"


def test_a_model_that_reads_text_is_told_the_sentence(
    labels: Labels, package: ModelPackage, make_package: MakePackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels.describe("a", "Many nuclei.", "ada")
    assert labels.text_for(package, "a") == "Many nuclei."
    assert labels.text_for(package, "a", "Few.") == "Few."
    assert (labels.text_for(package, "b"), labels.text_for(package, "")) == ("", "")
    assert labels.text_for(make_package("cam", name="grey"), "a", "Few.") == ""

    def down(scan: ScanIdentity) -> str:
        raise UnavailableError("the database is away")

    monkeypatch.setattr(labels.store, "text", down)
    assert labels.text_for(package, "a") == ""


@pytest.mark.parametrize(("size", "tile"), [((64, 48), (128, 96)), ((300, 500), (300, 500)), ((900, 600), (768, 512))])
def test_a_picture_is_shown_as_large_as_it_is_of_use(size: tuple[int, int], tile: tuple[int, int]) -> None:
    pixels = tissue(0, *size)[0]
    scan = Volume(pixels.swapaxes(0, 1)[:, :, None], np.diag([-1.0, -1.0, 1.0, 1.0]))
    layout = Sprite.of(scan)
    assert (layout.width, layout.height, layout.columns) == (*tile, 1)
    with Image.open(io.BytesIO(layout.picture(scan))) as shown:
        assert (shown.mode, shown.size) == ("RGB", tile)
        apart = np.asarray(shown.resize(size)).astype(int) - pixels
        assert np.abs(apart.mean(axis=(0, 1))).max() < 3
        assert np.abs(apart).mean() < 20, "upright"
    mask = np.zeros(scan.shape, np.uint8)
    mask[: size[0] // 2, : size[1] // 2] = 1
    with Image.open(io.BytesIO(layout.overlay(scan.like(mask), [(9, 8, 7)]))) as drawn:
        alpha = np.asarray(drawn)[..., 3] > 50
    assert alpha[2, 2]
    assert not alpha[-2, 2]
    assert not alpha[2, -2]


def test_a_snapshot_holds_pictures_masks_and_sentences(labels: Labels, package: ModelPackage, tmp_path: Path) -> None:
    mask = tissue(0)[1]
    finish(labels, tmp_path, "a", 255 * mask)
    finish(labels, tmp_path, "e", mask)
    labels.describe("e", 'The "e".', "ada")
    labels.describe("b", "Only told.", "ada")
    assert labels.read("a", package).presence.tolist() == [[1]]
    assert write_snapshot(labels, tmp_path / "data", package) == 3
    check_labels(tmp_path / "data", package)
    written = {file.name for file in (tmp_path / "data").iterdir()}
    masks = {"a_label.nii.gz", "e_label.nii.gz"}
    assert written == {"a.png", "b.JPG", "e.TIFF", *masks, "text.csv", "image_labels.csv"}
    for name in masks:
        assert np.array_equal(read_volume(tmp_path / "data" / name).voxels[:, :, 0].T, mask)
    found = load_slices(tmp_path / "data", package.labels, View.of(package.recipe), (MASKS,), (TEXT,))
    of_each = dict(zip((found.cases[int(case)] for case in found.case), found.targets.texts, strict=True))
    assert of_each == {"a": "", "e": 'The "e".'}


def test_labels_that_teach_a_head_nothing(labels: Labels, package: ModelPackage, tmp_path: Path) -> None:
    labels.describe("a", "Only told.", "ada")
    for mask, sentence in (
        (None, "labels: no scan has a finished mask of nucleus"),
        (np.full((48, 64), 255, np.uint8), "labels: no scan has a finished mask of background"),
    ):
        if mask is not None:
            finish(labels, tmp_path, "a", mask)
        folder = tmp_path / f"data {mask is None}"
        write_snapshot(labels, folder, package)
        with pytest.raises(WssegError, match=sentence):
            check_labels(folder, package)


def test_masks_that_are_none_are_refused(labels: Labels, tmp_path: Path) -> None:
    picture, mask = tissue(0)
    for name, pixels, sentence in (
        ("mask.jpg", 255 * mask, "unknown file type for a mask"),
        ("mask.png", picture, "is a colour picture, a mask holds class values"),
        ("mask.png", mask[1:], "is on another grid than a"),
    ):
        Image.fromarray(pixels).save(tmp_path / name)
        with pytest.raises(WssegError, match=sentence):
            FinishedMask.read("a", tmp_path / name, INFO, labels.studies.grid("a"))


def test_backbones_are_neither_offered_nor_trained_with_a_model() -> None:
    for name, method in (("stones", "ddpm"), ("head", "textdiff")):
        small_package(home() / "models" / name / "0.1", method, NUCLEUS)
        publish(home() / "models", name, "0.1")
    head = read_package(home() / "models" / "head" / "0.1", "head")
    head.metadata.wsseg.parents = {"diffusion": Parent(package="stones", part="diffusion")}
    (head.folder / METADATA).write_text(head.metadata.model_dump_json(), encoding="utf-8")
    assert chain(read_package(head.folder, "head")) == ["head"]
    with pytest.raises(WssegError, match="stones: is a backbone"):
        check_models(["stones"])
    offered = {package.name for package in sound_packages()}
    assert "head" in offered
    assert "stones" not in offered
