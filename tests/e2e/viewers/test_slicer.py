"""3D Slicer's own client class, without Slicer, in the order in which its module calls it and with what it sends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import requests
from live import SERVE, Server, oblique_affine, running
from slicer import slicer_client

from conftest import small_package
from wsseg.data.phantom import make_phantom
from wsseg.evaluation.metrics import dice_of
from wsseg.files import home
from wsseg.images.formats.nifti import write_nifti
from wsseg.images.formats.table import read_volume
from wsseg.images.volume import Volume
from wsseg.models.shelf import publish

SHIPPED = {"cldf-glioma-flair": 0.6, "cdm-glioma-flair": 0.3, "pclmix-cardiac-cine": 0.0}
"""The least Dice on the coarse synthetic head; the heart's model has nothing to find in it."""

TRAINED = "tiny"
UNION = "union"
SECONDS = 300
HEADS = {"straight": 0, "tilted": 1, "finished": 2, "healthy": 3}
"""Scans of the studies, by the seed of the phantom; "healthy" shows no finding."""


def head(name: str) -> tuple[Volume, np.ndarray]:
    scan, lesion = make_phantom(HEADS[name], finding=name != "healthy", size=64)
    return Volume(scan.voxels, oblique_affine() if name == "tilted" else scan.affine), lesion


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for name in HEADS:
        scan, _ = head(name)
        write_nifti(folder / f"{name}.nii.gz", scan.voxels, scan.affine)
    return folder


@pytest.fixture(scope="module")
def server(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    small_package(home() / "models" / TRAINED / "0.1", "cam")
    publish(home() / "models", TRAINED, "0.1")
    small_package(home() / "models" / UNION / "0.1", "union")
    publish(home() / "models", UNION, "0.1")
    folder = tmp_path_factory.mktemp("slicer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSEG_LABELS", f"sqlite:///{folder / 'labels.sqlite3'}")
        command = (*SERVE, "--studies", str(studies), "--models", ",".join([*SHIPPED, TRAINED, UNION]))
        with running(command, folder / "log") as server:
            yield server


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    return slicer_client()


class Slicer:
    """What the module does with the client's answers."""

    def __init__(self, plugin: ModuleType, server: Server, folder: Path) -> None:
        self.client = plugin.MONAILabelClient(server.url, str(folder), "ada")
        self.folder = folder
        assert not self.client.auth_enabled()
        self.info = self.client.info()

    def rows(self, section: str, name: str) -> dict[str, Any]:
        """The option rows as they stand; of a list the first."""
        config = self.info[section][name].get("config", {})
        for value in config.values():
            assert isinstance(value, (str, bool, int, float)) or all(isinstance(entry, str) for entry in value)
        return {key: value[0] if isinstance(value, list) else value for key, value in config.items()}

    def run(self, model: str, image: str, session: str | None = None, **changed: Any) -> tuple[Volume, list[str]]:
        """A mask, and the names of its values 1, 2, ..."""
        params = {**self.rows("models", model), **changed, "result_extension": ".nrrd", "result_dtype": "uint8"}
        file, told = self.client.infer(model, image, params, session_id=session)
        names = sorted(told["label_names"], key=told["label_names"].get)
        assert list(told["label_names"].values()) == list(range(1, len(names) + 1))
        return read_volume(Path(file)), names

    def submit(self, image: str, mask: Volume, names: list[str]) -> dict[str, Any]:
        file = self.folder / "submitted.nii.gz"
        write_nifti(file, mask.voxels.astype(np.uint8), mask.affine)
        info = [{"name": name, "idx": index + 1} for index, name in enumerate(names)]
        return self.client.save_label(image, str(file), params={"label_info": info})

    def progress(self) -> tuple[float, float]:
        """The bars of training and of accuracy."""
        stats = next(iter(self.client.info()["train_stats"].values()))
        current = 0 if stats.get("total_time") else stats.get("epoch", 1)
        return max(1, 100 * current / stats.get("total_epochs", 1)), stats.get("best_metric", 0) * 100


@pytest.fixture
def slicer(plugin: ModuleType, server: Server, tmp_path: Path) -> Slicer:
    return Slicer(plugin, server, tmp_path)


def assert_same_grid(mask: Volume, scan: Volume) -> None:
    assert mask.voxels.shape == scan.voxels.shape
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)


def test_connect(slicer: Slicer) -> None:
    assert slicer.client.train_status(check_if_running=True) is False
    kinds = {name: model["type"] for name, model in slicer.info["models"].items()}
    drawn = {"scribbles": "scribbles", "points": "deepgrow"}
    assert kinds == {**dict.fromkeys([*SHIPPED, TRAINED, UNION], "segmentation"), **drawn}
    assert list(slicer.info["trainers"]) == [*SHIPPED, TRAINED, UNION]
    assert set(slicer.info["labels"]) == {"tumor", "right ventricle", "myocardium", "left ventricle"}
    for section in ("models", "trainers"):
        for name in slicer.info[section]:
            timed = (section, name) == ("trainers", UNION)  # it learns for its time, whatever steps
            assert bool(slicer.rows(section, name)) != timed
    assert slicer.info["datastore"] == {"total": len(HEADS), "completed": 0, "label_tags": {}}


@pytest.mark.parametrize("strategy", ["informative", "uncertainty", "disagreement", "diversity", "random", "first"])
def test_next_sample_is_a_scan_that_can_be_opened(
    slicer: Slicer, plugin: ModuleType, studies: Path, strategy: str
) -> None:
    """On the server's own machine from its path, elsewhere by a request without any header of the client."""
    assert strategy in slicer.info["strategies"]
    sample = slicer.client.next_sample(strategy, {})
    here = Path(sample["path"])
    assert here == studies / f"{sample['id']}.nii.gz"
    assert sample["name"] == here.name
    address = f"/datastore/image?image={sample['id']}"
    status, body, *_ = plugin.MONAILabelUtils.http_method("GET", slicer.client.get_server_url(), address)
    assert status == 200
    assert body == here.read_bytes()


@pytest.mark.parametrize(
    ("model", "image"), [*((model, "straight") for model in SHIPPED), ("cldf-glioma-flair", "tilted")]
)
def test_run_gives_a_mask_on_the_scans_grid(slicer: Slicer, model: str, image: str) -> None:
    mask, names = slicer.run(model, image)
    scan, lesion = head(image)
    assert_same_grid(mask, scan)
    assert mask.voxels.max() <= len(names)
    assert names == sorted(slicer.info["models"][model]["labels"], key=slicer.info["models"][model]["labels"].get)
    if image == "straight":
        assert dice_of(mask.voxels > 0, lesion > 0) >= SHIPPED[model]


def test_a_volume_that_is_not_of_the_studies(slicer: Slicer, tmp_path: Path) -> None:
    """It goes into a session to be segmented, and into the studies when it is submitted."""
    scan, _ = head("tilted")
    write_nifti(tmp_path / "node.nii.gz", scan.voxels, scan.affine)
    session = slicer.client.create_session(str(tmp_path / "node.nii.gz"))["session_id"]
    assert slicer.client.get_session(session)
    mask, names = slicer.run("cldf-glioma-flair", "MR Head 1", session)
    assert_same_grid(mask, scan)
    assert slicer.client.upload_image(str(tmp_path / "node.nii.gz"), "MR Head 1")["image"] == "MR Head 1"
    before = slicer.client.info()["datastore"]["completed"]
    assert slicer.submit("MR Head 1", mask, names)["image"] == "MR Head 1"
    assert slicer.client.info()["datastore"]["completed"] == before + 1
    kept = read_volume(Path(slicer.client.download_label("MR Head 1", "final")))
    np.testing.assert_array_equal(kept.voxels, mask.voxels)


def test_from_labels_to_a_trained_model(slicer: Slicer, server: Server) -> None:
    """A corrected mask is submitted, slices are marked in an option row, and the model trained on both."""
    scan, lesion = head("finished")
    assert slicer.submit("finished", scan.like(lesion), ["tumor"])["label"] == "finished"
    for name in ("healthy", "straight"):
        shown = np.flatnonzero(head(name)[1].any(axis=(0, 1)))
        row = f"tumor: {shown[0]}-{shown[-1]}" if shown.size else "no tumor: all"
        slicer.run(TRAINED, name, presence=row, save_as_label=True)
    assert slicer.client.info()["datastore"]["completed"] >= 3, "Slicer's Train button is off"
    rows = slicer.rows("trainers", TRAINED) | {"steps": "3000"}
    task = slicer.client.train_start(TRAINED, rows)
    assert (task["status"], bool(task["id"]), bool(task["start_ts"])) == ("RUNNING", True, True)
    seen: set[float] = set()
    end = time.monotonic() + SECONDS
    while len(seen) < 3:  # the bar moves
        assert slicer.client.train_status()["status"] == "RUNNING"
        assert time.monotonic() < end
        bar, accuracy = slicer.progress()
        assert 0 < bar <= 100
        assert 0 <= accuracy <= 100
        seen.add(bar)
        time.sleep(0.1)
    # A viewer's stop finishes what has trained for a minute, as on a slow machine: one that just began is stopped.
    requests.delete(f"{server.url}/annotate/api/train", timeout=60).raise_for_status()
    slicer.client.train_start(TRAINED, rows)
    stopped = slicer.client.train_stop()
    assert (stopped["status"], stopped["result"], stopped["details"][-1]) == (
        "STOPPED",
        f"cancelled, {TRAINED} is as it was",
        f"cancelled, {TRAINED} is as it was",
    )
    assert stopped["end_ts"]
    assert slicer.client.train_status()["status"] == "STOPPED"
    # What it opens as "original label" when the scan is shown again: names by value.
    slicer.run(TRAINED, "straight", save_label=True)
    told = slicer.client.datastore()["objects"]["straight"]["labels"]["original"]["info"]["params"]["label_names"]
    assert told == {"tumor": 1}
    assert_same_grid(read_volume(Path(slicer.client.download_label("straight", "original"))), head("straight")[0])


def test_points_of_the_smart_edit_panel_are_respected(slicer: Slicer) -> None:
    """As its module sends them: all points of the segment, in voxels, with the name of the segment."""
    scan, _ = head("tilted")
    inside, outside = [[20, 30, 3], [40, 30, 4]], [[30, 30, 3]]
    asked = {"label": "tumor", "foreground": inside, "background": outside, "segment_with": UNION}
    mask, names = slicer.run("points", "tilted", **asked)
    assert_same_grid(mask, scan)
    assert names == ["tumor"]
    assert [int(mask.voxels[tuple(point)]) for point in inside + outside] == [1, 1, 0]
    more, _ = slicer.run("points", "tilted", **{**asked, "background": [*outside, inside[0]]})
    assert int(more.voxels[tuple(inside[0])]) == 0


def test_strokes_of_the_scribbles_panel_are_respected(slicer: Slicer, tmp_path: Path) -> None:
    scan, _ = head("tilted")
    drawn = np.zeros(scan.shape, np.uint8)
    drawn[20:30, 30, 3], drawn[40, 20:40, 4] = 2, 3
    write_nifti(tmp_path / "strokes.nii.gz", drawn, scan.affine)
    segments = [{"name": "background_scribbles", "id": 3}, {"name": "foreground_scribbles", "id": 2}]
    params = {"label_info": segments, "selected_label_name": "tumor", "segment_with": UNION}
    params |= {"result_extension": ".nrrd", "result_dtype": "uint8"}
    file, told = slicer.client.infer("scribbles", "tilted", params, str(tmp_path / "strokes.nii.gz"))
    mask = read_volume(Path(file)).voxels
    assert told["label_names"] == {"tumor": 1}
    assert (mask[drawn == 2] == 1).all()
    assert (mask[drawn == 3] == 0).all()


def test_a_refusal_is_a_sentence_in_the_message_box(slicer: Slicer, plugin: ModuleType) -> None:
    with pytest.raises(plugin.MONAILabelClientException) as refused:
        slicer.run("cldf-glioma-flair", "straight", presence="liver: 1")
    assert "liver" in refused.value.msg
