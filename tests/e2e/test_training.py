"""Training on a live server: from labels to a better model, and through kills at any moment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from live import SERVE
from monailabel.client import MONAILabelClient
from monailabel.client.client import MONAILabelClientException

from conftest import small_package
from wsseg.data.phantom import write_phantom_data
from wsseg.files import home
from wsseg.labels.database.store import LabelStore
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import LabelSpace
from wsseg.labels.tables import read_presence
from wsseg.models.package import WEIGHTS
from wsseg.models.shelf import publish
from wsseg.server.jobs.lock import TrainerLock

SECONDS = 480
TUMOR = LabelSpace(("tumor",))
NEW = (*SERVE[:-1], "new", "liver-mr", "--labels", "liver", "--modality", "MR")
MODELS = ("tiny", "fresh", "liver-mr")
SCANS = 20


class Site:
    """A server that can be killed and started again on the same port."""

    def __init__(self, studies: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.client = MONAILabelClient(self.url, tmpdir=str(log.parent))
        self.lock = TrainerLock(home() / "jobs" / "LOCK")
        self.studies = studies
        self._log = log
        self._command = (*SERVE, "--studies", str(studies), "--models", ",".join(MODELS), "--port", str(port))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=subprocess.STDOUT)
        self.until(self._answers)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill_trainer(self) -> None:
        """If it has not finished before. Its lock goes only once it has ended, which a kill does not wait for."""
        if (pid := self.lock.pid()) is not None:
            os.kill(pid, signal.SIGKILL)
            while self.lock.pid() == pid:
                time.sleep(0.01)

    def stop(self) -> None:
        """With Ctrl-C; the trainer ends with its server."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            assert self._process.wait(30) == 0
            self.until(lambda: not self.lock.held())

    def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        reply = requests.request(method, self.url + path, json=body or None, timeout=60)
        assert reply.status_code == status, reply.text
        return reply.json()

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text("utf-8")[-3000:]
            assert time.monotonic() < end, self._log.read_text("utf-8")[-3000:]
            time.sleep(0.05)

    def trained(self) -> dict[str, Any]:
        """The status at the end of training."""
        self.until(lambda: self.ask("GET", "/train/")["status"] != "RUNNING")
        return self.ask("GET", "/annotate/api/train")

    def bar(self) -> float:
        """Percent on the bar, as 3D Slicer computes it from /info/."""
        stats = next(iter(self.client.info()["train_stats"].values()))
        assert 0 <= stats.get("best_metric", 0) <= 1
        current = 0 if stats.get("total_time") else stats.get("epoch", 1)
        return 100 * current / stats.get("total_epochs", 1)

    def label(self, truth: dict[str, list[int]], model: str = "tiny", label: str = "tumor") -> None:
        """All slices of all scans."""
        for scan, states in truth.items():
            self.mark(scan, dict(enumerate(states)), model, label)

    def mark(self, scan: str, states: dict[int, int], model: str = "tiny", label: str = "tumor") -> None:
        marks = [{"slice": index, "state": state} for index, state in states.items()]
        path = f"/annotate/api/scans/{scan}/presence?model={model}"
        self.ask("PUT", path, label=label, marks=marks, annotator="ada")

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/info/", timeout=10).ok
        except requests.ConnectionError:
            return False


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small scans and what they show."""
    folder = tmp_path_factory.mktemp("data")
    write_phantom_data(folder, SCANS, seed=0, size=64)
    return folder


@pytest.fixture(scope="module")
def all_truth(data: Path) -> dict[str, list[int]]:
    known = read_presence(data / "image_labels.csv", TUMOR)
    return {case: presence.states[0].tolist() for case, presence in known.items()}


@pytest.fixture(scope="module")
def truth(all_truth: dict[str, list[int]]) -> dict[str, list[int]]:
    """Of the first four scans, on which training is quick."""
    return dict(list(all_truth.items())[:4])


@pytest.fixture(scope="module")
def site(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with unlabelled scans, a trained model, one that was never trained, and one that was just made."""
    folder = tmp_path_factory.mktemp("site")
    studies = folder / "studies"
    shutil.copytree(data, studies, ignore=shutil.ignore_patterns("*_label*", "*.csv"))
    before = os.environ["WSSEG_HOME"]
    os.environ["WSSEG_HOME"] = str(folder / "home")
    for name in ("tiny", "fresh"):
        small_package(home() / "models" / name / "0.1", "cam")
        publish(home() / "models", name, "0.1")
    (home() / "models" / "fresh" / "0.1" / WEIGHTS).unlink()
    subprocess.run(NEW, check=True)
    site = Site(studies, folder / "log")
    site.start()
    yield site
    site.stop()
    os.environ["WSSEG_HOME"] = before


@pytest.mark.long
def test_from_labels_to_the_next_version_and_back(site: Site, truth: dict[str, list[int]]) -> None:
    client = site.client
    info = client.info()
    assert next(iter(info["models"])) == "tiny"
    assert "fresh" not in info["models"]
    assert list(info["trainers"]) == list(MODELS)
    assert info["trainers"]["tiny"]["config"] == {"steps": 200}
    assert info["datastore"]["completed"] == 0, "Slicer's button is off"
    assert site.ask("GET", "/train/", 404)["detail"] == "no model was trained yet"
    assert "label some first" in site.ask("POST", "/train/tiny", 400)["detail"]
    (scan, *others) = truth
    site.mark(scan, {0: 1})
    assert client.info()["datastore"]["completed"] == 1
    assert "no slice has tumor marked absent" in site.ask("POST", "/train/tiny", 400)["detail"]
    site.mark(scan, {0: 0})
    assert "no slice has tumor marked present" in site.ask("POST", "/train/tiny", 400)["detail"]
    site.label(truth)
    assert client.info()["datastore"]["completed"] == len(others) + 1
    assert "steps: must be" in site.ask("POST", "/train/tiny", 400, steps="x")["detail"]
    assert "nothing" in site.ask("POST", "/train/nothing", 404)["detail"]

    # What Slicer sends, the model's config and its own name.
    task = client.train_start("tiny", {"steps": "120", "device": "cuda"})
    assert task["status"] == "RUNNING"
    assert task["details"]
    assert client.train_status(check_if_running=True) is True
    with pytest.raises(MONAILabelClientException, match=r"429.*tiny is being trained"):
        client.train_start("tiny", {})
    assert site.ask("POST", "/annotate/api/train", 409, model="fresh")["detail"].startswith("tiny is being trained")
    bars = set()
    while client.train_status()["status"] == "RUNNING":
        bars.add(round(site.bar()))
        time.sleep(0.05)
    assert len(bars) > 3, "the bar moves"
    assert client.train_status(check_if_running=False)["status"] == "DONE"
    assert client.train_status(check_if_running=True) is False
    status = site.trained()
    assert (status["phase"], status["step"], status["steps"]) == ("done", 120, 120)
    assert len(status["curve"]) >= 6
    assert status["message"]
    name, stats = next(iter(client.info()["train_stats"].items()))
    assert name == "tiny"
    assert stats["total_time"]
    assert client.info()["models"]["tiny"]["version"] == site.ask("GET", "/annotate/api/models")[0]["version"]

    # The version is served at once, and the one before when that is asked for.
    new, old = site.ask("GET", "/annotate/api/models/tiny/versions")
    assert old["version"] == "0.1"
    assert new["scans"] == 3, "one was held back"
    assert (new["current"], new["score"] >= new["before"]) in ((True, True), (False, False))
    for version in (new["version"], "0.1"):
        path = f"/annotate/api/models/tiny/versions/{version}/publish"
        assert [entry["version"] for entry in site.ask("POST", path) if entry["current"]] == [version]
        assert client.info()["models"]["tiny"]["version"] == version
        prediction = site.ask("POST", f"/annotate/api/scans/{scan}/prediction?model=tiny")
        assert prediction["version"] == version

    # Cancelled, the model is as it was. OHIF asks for all models and gets the first.
    replies = site.ask("POST", "/train/", tiny={"steps": 100_000})
    assert replies["tiny"]["result"]["status"] == "RUNNING"
    site.until(lambda: site.bar() > 0)
    # The page's, as a viewer's would finish it where the machine was so slow that it has trained for a minute.
    assert site.ask("DELETE", "/annotate/api/train")["phase"] == "cancelled"
    assert client.train_stop() is None
    assert client.train_status()["details"] == ["cancelled, tiny is as it was"]
    assert client.info()["models"]["tiny"]["version"] == "0.1"
    assert [task["status"] for task in site.ask("GET", "/train/?all=true")] == ["DONE", "STOPPED"]


class Annotator(threading.Thread):
    """Changes labels without a pause, and remembers what was acknowledged."""

    def __init__(self, site: Site, truth: dict[str, list[int]]) -> None:
        super().__init__(daemon=True)
        self.kept: dict[tuple[str, int], int] = {}
        self.writes = 0
        self.refused: list[str] = []
        self.stopping = False
        self._site = site
        self._places = [(scan, index) for scan, states in truth.items() for index in range(len(states))]
        self._random = random.Random(1)

    def run(self) -> None:
        """Every place is written in its turn; a write that was not acknowledged may have been kept or not."""
        while not self.stopping:
            place = self._places[self.writes % len(self._places)]
            state = self._random.choice([0, 1])
            try:
                self._site.mark(place[0], {place[1]: state})
            except requests.RequestException:
                self.kept.pop(place, None)
                time.sleep(0.05)
            except AssertionError as error:
                self.refused.append(str(error))
            else:
                self.kept[place] = state
                self.writes += 1
            time.sleep(0.02)


@pytest.mark.long
def test_nothing_acknowledged_is_lost_by_kills_and_training_goes_on(site: Site, truth: dict[str, list[int]]) -> None:
    """Trainer, server and both are killed at random moments while labels stream in."""
    chance = random.Random()
    site.label(truth)
    annotator = Annotator(site, truth)
    annotator.start()
    started = site.ask("POST", "/train/fresh", steps=200)

    def getting_on() -> bool:
        return site.ask("GET", "/annotate/api/train")["phase"] in ("training", "publishing", "done")

    time.sleep(chance.uniform(0, 1))
    site.kill_trainer()
    site.until(lambda: site.lock.pid() is not None)
    time.sleep(chance.uniform(0, 1))
    site.kill()
    pid = site.lock.pid()
    assert pid is not None, "the trainer outlives its server"
    site.start()
    assert site.lock.pid() in (pid, None), "the next server goes on showing it"
    site.until(getting_on)
    time.sleep(chance.uniform(0, 1))
    site.kill()
    site.kill_trainer()
    site.start()
    status = site.trained()
    assert (status["phase"], status["model"]) == ("done", "fresh"), status
    assert site.ask("GET", "/train/")["id"] == started["id"]
    annotator.stopping = True
    annotator.join()
    assert annotator.refused == []
    assert annotator.writes > 100
    # What was never trained is a model now.
    version = site.client.info()["models"]["fresh"]["version"]
    assert version.startswith("0.1+")
    assert not list((home() / "models").rglob(".*")), "something half-written is left"
    store = LabelStore.at(home(), Project.of_folder(site.studies))
    for scan, states in truth.items():
        found = store.read(ScanIdentity.of(scan, site.studies / f"{scan}.nii.gz"), TUMOR).presence[0]
        for index in range(len(states)):
            if (scan, index) in annotator.kept:
                assert found[index] == annotator.kept[scan, index], (scan, index)
    store.close()


@pytest.mark.long
def test_a_new_task_begins_from_nothing(site: Site, all_truth: dict[str, list[int]]) -> None:
    """What `wsseg new` made is labelled as the page does it, trained, and served."""
    [made] = [model for model in site.ask("GET", "/annotate/api/models") if model["name"] == "liver-mr"]
    assert (made["trained"], made["trainable"]) == (False, True)
    assert "liver-mr" not in site.client.info()["models"]
    scan = next(iter(all_truth))
    path = f"/annotate/api/scans/{scan}/prediction?model=liver-mr"
    assert "liver-mr is not trained yet" in site.ask("POST", path, 400)["detail"]
    site.label(all_truth, "liver-mr", "liver")
    site.ask("POST", "/train/liver-mr", steps=3)
    status = site.trained()
    assert (status["phase"], status["model"], status["step"]) == ("done", "liver-mr", 6), status
    [new] = site.ask("GET", "/annotate/api/models/liver-mr/versions")
    assert new["current"], "any model is better than none, and none is no version to go back to"
    assert new["scans"] == SCANS - 6, "the others were held back"
    assert site.client.info()["models"]["liver-mr"]["version"] == new["version"]
    file, told = site.client.infer("liver-mr", scan, {"result_extension": ".nii.gz", "presence": "liver: all"})
    assert told["label_names"] == {"liver": 1}
    mask, source = nib.load(file), nib.load(site.studies / f"{scan}.nii.gz")
    assert mask.shape == source.shape
    assert np.array_equal(mask.affine, source.affine)
    assert set(np.unique(np.asanyarray(mask.dataobj))) <= {0, 1}
