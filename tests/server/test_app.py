"""What viewers are told: of what there is now, without looking at it all many times a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import small_package
from wsseg.data.phantom import write_phantom_data
from wsseg.errors import NotFoundError
from wsseg.files import home
from wsseg.images.folder import scan_files
from wsseg.labels.database.engine import open_store
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import project_of
from wsseg.labels.values import Mark
from wsseg.models import shelf
from wsseg.models.shelf import publish
from wsseg.server.app import WssegApp
from wsseg.server.jobs.job_folder import JobFolder, Plan
from wsseg.server.routes.annotate.models import history, roll_back
from wsseg.server.studies import labels as labels_module
from wsseg.training.progress import Phase, TrainingProgress


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Two scans and nothing beside them."""
    folder = tmp_path / "studies"
    write_phantom_data(folder, cases=2, seed=0, size=64)
    for file in set(folder.iterdir()) - set(scan_files(folder).values()):
        file.unlink()
    return folder


@pytest.fixture
def app(tmp_path: Path, studies: Path, monkeypatch: pytest.MonkeyPatch) -> WssegApp:
    """A server's application with a model "tiny", in a work directory of its own."""
    monkeypatch.setenv("WSSEG_HOME", str(tmp_path / "home"))
    small_package(home() / "models" / "tiny" / "0.1", "cam")
    publish(home() / "models", "tiny", "0.1")
    return WssegApp(str(tmp_path / "app"), str(studies), {"models": "tiny"})


def test_models_and_labels_are_not_read_again_for_every_viewer(app: WssegApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "AGAIN", 60.0)
    before = json.dumps(app.info())

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(shelf, "read_package", refuse)
    monkeypatch.setattr(app.weak_labels.store, "contents", refuse)
    assert json.dumps(app.info()) == before


def test_another_version_is_told_at_once(app: WssegApp) -> None:
    assert app.info()["models"]["tiny"]["version"] == "0.1"
    newer = small_package(home() / "models" / "tiny" / "0.2", "cam")
    metadata = newer.folder / "configs" / "metadata.json"
    metadata.write_text(metadata.read_text("utf-8").replace('"version": "0.1"', '"version": "0.2"'), encoding="utf-8")
    assert app.info()["models"]["tiny"]["version"] == "0.1"
    publish(home() / "models", "tiny", "0.2")
    assert app.info()["models"]["tiny"]["version"] == "0.2"
    publish(home() / "models", "tiny", "0.1")
    assert app.info()["models"]["tiny"]["version"] == "0.1"


def test_a_model_that_is_damaged_meanwhile_leaves_the_others(app: WssegApp) -> None:
    pointer = home() / "models" / "tiny" / "CURRENT"
    app.conf["models"] = "tiny,other"
    small_package(home() / "models" / "other" / "0.1", "cam")
    publish(home() / "models", "other", "0.1")
    assert {"tiny", "other"} < set(app.info()["models"])
    pointer.write_bytes(b"\xff\0")
    offered = app.info()["models"]
    assert "other" in offered
    assert "tiny" not in offered
    with pytest.raises(NotFoundError, match='model "tiny" is unknown'):
        app.task("tiny")
    [there] = history(app, "tiny")
    assert roll_back(app, "tiny", there["version"])[0]["current"]
    assert "tiny" in app.info()["models"]


def test_scans_count_as_completed_once_they_are_labelled(
    app: WssegApp, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = scan_files(studies)
    monkeypatch.setattr(labels_module, "AGAIN", 60.0)
    assert app.info()["datastore"] == {"total": 2, "completed": 0, "label_tags": {}}
    app.weak_labels.describe(first, "a finding", "ada")
    assert app.info()["datastore"]["completed"] == 1
    elsewhere, package = open_store(project_of(str(studies))), app.package("tiny")
    elsewhere.mark(ScanIdentity.of(second, scan_files(studies)[second]), [Mark("tumor", 0, 1)], package.labels, "bob")
    assert app.info()["datastore"]["completed"] == 1
    monkeypatch.setattr(labels_module, "AGAIN", 0.0)
    assert app.info()["datastore"]["completed"] == 2
    elsewhere.close()


def test_progress_is_that_of_the_newest_job(app: WssegApp) -> None:
    assert app.info()["train_stats"] == {"tiny": {}}
    job = JobFolder.create(home() / "jobs", Plan("tiny", {"tiny": 5}))
    for step in (1, 2):
        job.tell(TrainingProgress(phase=Phase.TRAINING, model="tiny", step=step, steps=5))
        assert app.info()["train_stats"]["tiny"]["epoch"] == step
    JobFolder.create(home() / "jobs", Plan("other", {"other": 5}))
    assert app.info()["train_stats"] == {"tiny": {}}
