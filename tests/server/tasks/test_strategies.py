"""The next scan, chosen in a real datastore with a real store of labels and small models."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from conftest import metadata_of, small_package
from wsseg.archive.overview import Overview
from wsseg.archive.web.series import Series
from wsseg.archive.work import Campaign, Outcome, Work
from wsseg.data.phantom import make_phantom
from wsseg.data.preprocess import Stack
from wsseg.errors import NotFoundError
from wsseg.files import home
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.table import write_mask
from wsseg.images.scan import read_scan
from wsseg.images.volume import Volume
from wsseg.inference.active import SLICES
from wsseg.inference.quality.fits import Fits
from wsseg.inference.segmenter import Segmenter
from wsseg.labels.database.connection import Database
from wsseg.labels.database.store import LabelStore, address_in
from wsseg.labels.drawn.drawing import Drawing, Tool
from wsseg.labels.project import Project
from wsseg.labels.space import LabelSpace
from wsseg.labels.values import Mark
from wsseg.models.package import WEIGHTS, ModelPackage, write_package
from wsseg.models.shelf import find_package, publish
from wsseg.server.compute import Compute
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.studies import Studies
from wsseg.server.tasks import strategies as module
from wsseg.server.tasks.pool import PoolInference
from wsseg.server.tasks.strategies import WAYS, Chosen, strategies, unlabelled

SCANS = [f"scan_{seed}" for seed in range(4)]
SECONDS = 60.0
"""Long enough for every summary on a busy machine."""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A work directory with a trained model and one without weights."""
    monkeypatch.setenv("WSSEG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "SECONDS", SECONDS)
    for name in ("tiny", "empty"):
        small_package(home() / "models" / name / "0.1", "cam")
        publish(home() / "models", name, "0.1")
    (home() / "models" / "empty" / "0.1" / WEIGHTS).unlink()


@pytest.fixture
def datastore(tmp_path: Path) -> ScanFolder:
    folder = tmp_path / "studies"
    folder.mkdir()
    for seed, name in enumerate(SCANS):
        scan, _ = make_phantom(seed, finding=seed % 2 == 0, size=64)
        write_nifti(folder / f"{name}.nii.gz", scan.voxels, scan.affine)
    return ScanFolder(folder)


@pytest.fixture
def labels(tmp_path: Path, datastore: ScanFolder) -> Labels:
    return Labels(LabelStore.at(tmp_path, Project.of_folder(tmp_path / "studies")), Studies(datastore))


def packages() -> list[ModelPackage]:
    return [find_package("tiny"), find_package("empty")]


class Asking:
    """All strategies of a server, asked by name."""

    def __init__(self, labels: Labels, datastore: ScanFolder) -> None:
        self.all = strategies(Compute(), labels, packages)
        self.datastore = datastore

    def __call__(self, strategy: str, **request: str) -> Chosen | None:
        return self.all[strategy]({"strategy": strategy, **request}, self.datastore)


@pytest.fixture
def ask(labels: Labels, datastore: ScanFolder) -> Asking:
    return Asking(labels, datastore)


def label(labels: Labels, scan: str) -> None:
    labels.mark(scan, [Mark("tumor", 0, 1)], find_package("tiny"), "a")


def test_the_recommended_one_comes_first_and_the_peers_keep_their_names(ask: Asking) -> None:
    assert list(ask.all) == [*WAYS, "random", "first"]
    assert "recommended" in next(iter(ask.all.values())).info()["description"]


@pytest.mark.parametrize("strategy", [*WAYS, "random", "first"])
def test_every_scan_is_proposed_once_until_all_are_labelled(
    ask: Asking, labels: Labels, datastore: ScanFolder, strategy: str, tmp_path: Path
) -> None:
    mask = Volume(np.ones((64, 64, 8), np.uint8), np.eye(4))
    write_mask(tmp_path / "mask.nii.gz", mask)
    datastore.save_label(SCANS[1], str(tmp_path / "mask.nii.gz"), "final", {})
    proposed = []
    while chosen := ask(strategy, model="tiny"):
        assert chosen["why"]
        again = ask(strategy, model="tiny")
        assert again is not None
        assert strategy == "random" or again == chosen
        proposed.append(chosen["id"])
        label(labels, chosen["id"])
    assert sorted(proposed) == [SCANS[0], SCANS[2], SCANS[3]]


def test_a_model_names_the_slices_worth_labelling(ask: Asking) -> None:
    chosen = ask("uncertainty")  # of the first model
    assert chosen is not None
    assert len(chosen["slices"]) == SLICES
    assert f"slices {chosen['slices'][0] + 1}, {chosen['slices'][1] + 1}, " in chosen["why"]
    assert "of 4 unlabelled scans" in chosen["why"]


def test_scans_that_do_not_fit_the_model_come_last(
    ask: Asking, labels: Labels, datastore: ScanFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = read_scan(Path(datastore.get_image_uri(SCANS[0]))).voxels

    def fits(segmenter: Segmenter, scan: Volume, stack: Stack) -> Fits:
        return Fits(1e-6 if np.array_equal(scan.voxels, foreign) else 0.5, "")

    monkeypatch.setattr(module, "SECONDS", 60.0)
    monkeypatch.setattr(Segmenter, "_fits", fits)
    proposed, told = [], []
    while chosen := ask("informative", model="tiny"):
        proposed.append(chosen["id"])
        told.append(chosen["why"])
        label(labels, chosen["id"])
    assert proposed[-1] == SCANS[0]
    assert all("1 do not fit the model and come last" in why for why in told)


def test_without_a_trained_model_a_scan_is_drawn(ask: Asking) -> None:
    chosen = ask("informative", model="empty")
    assert chosen is not None
    assert chosen["id"] in SCANS
    assert "not trained" in chosen["why"]
    with pytest.raises(NotFoundError, match="nothing"):
        ask("informative", model="nothing")


def test_nobody_waits_for_looks(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer comes at once, later ones from what was looked at meanwhile."""
    monkeypatch.setattr(module, "SECONDS", 0.0)
    first = ask("informative")
    assert first is not None
    assert "not looked" in first["why"]
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and "slices" not in (chosen := ask("informative") or {}):
        time.sleep(0.05)
    assert chosen["id"] in SCANS


def test_scans_that_cannot_be_labelled_are_not_proposed(ask: Asking, labels: Labels, datastore: ScanFolder) -> None:
    """One is damaged; that the slices of another run along its first stored axis is no hindrance."""
    Path(datastore.get_image_uri(SCANS[2])).write_bytes(b"no scan")
    scan, _ = make_phantom(0, size=64)
    turned = np.moveaxis(scan.voxels, 2, 0)
    write_nifti(Path(datastore.get_image_uri(SCANS[3])), turned, scan.affine[:, [2, 0, 1, 3]])
    proposed = set()
    while (chosen := ask("uncertainty")) and len(proposed) < len(SCANS):
        proposed.add(chosen["id"])
        label(labels, chosen["id"])
    assert proposed == {SCANS[0], SCANS[1], SCANS[3]}


def test_looks_are_kept_until_the_model_has_another_version(labels: Labels) -> None:
    inference, package = PoolInference(Compute(), labels.studies), find_package("tiny")
    before = inference.summaries(package, SCANS, False, SECONDS)
    assert list(before) == SCANS
    kept = inference.summaries(package, SCANS, False, 0.0)
    assert all(kept[name] is before[name] for name in SCANS)
    metadata = metadata_of("cam", package.recipe.settings).model_copy(update={"version": "0.2"})
    changed = {name: tensor * 2 for name, tensor in package.weights().items()}
    write_package(home() / "models" / "tiny" / "0.2", metadata, changed, "card", "licence")
    publish(home() / "models", "tiny", "0.2")
    after = inference.summaries(find_package("tiny"), SCANS, False, SECONDS)
    assert not np.allclose(before[SCANS[0]].presence, after[SCANS[0]].presence)
    assert np.array_equal(before[SCANS[0]].features, after[SCANS[0]].features)


def test_only_labels_of_the_models_classes_that_still_stand_count(labels: Labels, datastore: ScanFolder) -> None:
    package = find_package("tiny")
    labels.store.mark(labels.identity(SCANS[0]), [Mark("edema", 1, 0)], LabelSpace(("edema",)), "a")
    assert unlabelled(labels, datastore, package) == SCANS
    revision = labels.mark(SCANS[1], [Mark("tumor", 1, 0)], package, "a")
    assert unlabelled(labels, datastore, package) == [SCANS[0], *SCANS[2:]]
    labels.store.undo(revision, "a")
    assert unlabelled(labels, datastore, package) == SCANS


def test_what_somebody_drew_on_is_not_proposed_again(labels: Labels, datastore: ScanFolder) -> None:
    package = find_package("tiny")
    line = ((5.0, 6.0), (9.0, 8.0))
    stroke = Drawing(id="stroke-0", tool=Tool.STROKE, label="tumor", classes=("tumor",), axis=2, slice=3, points=line)
    revision = labels.draw(SCANS[1], [stroke], (), package, "a")
    assert unlabelled(labels, datastore, package) == [SCANS[0], *SCANS[2:]]
    labels.store.undo(revision, "a")
    assert unlabelled(labels, datastore, package) == SCANS


def test_of_an_archive_what_the_model_was_least_sure_of_comes_first(
    labels: Labels, datastore: ScanFolder, tmp_path: Path
) -> None:
    database = Database(address_in(tmp_path))
    archive = labels.store.project.id
    ask = strategies(Compute(), labels, packages, Overview(database))["archive"]
    request = {"model": "tiny"}
    with pytest.raises(NotFoundError, match="has not segmented this archive yet"):
        ask(request, datastore)
    work = Work(database, Campaign(archive, "tiny", "0.1", archive))
    with database.writing() as connection:
        work.add(connection, [Series(name, "1.2", 8, {}) for name in (*SCANS[:3], "elsewhere")])
    sure = [0.5, 0.2, 0.8, 0.1]
    work.note([Outcome(claim.id, 1.0, {}, sure[k]) for k, claim in enumerate(work.claim(4, "a"))])
    proposed = []
    while chosen := ask(request, datastore):
        proposed.append(chosen["id"])
        label(labels, chosen["id"])
    assert proposed == [SCANS[1], SCANS[0], SCANS[2]]
    database.close()
