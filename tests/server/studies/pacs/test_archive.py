"""The scans of an archive, and masks on their way to it, without a server."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from stub import Stub, archive_stub, series_files

from wsseg.archive.web.client import Pacs
from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.images.dicom import seg as writer
from wsseg.images.formats.table import read_grid
from wsseg.server.studies.pacs.archive import Archive
from wsseg.server.studies.pacs.cache import cache_folder
from wsseg.server.studies.store import KeptError

INFO = {"label_info": [{"name": "left", "idx": 1}]}

__all__ = ["archive_stub", "series_files"]  # fixtures


def opened(stub: Stub) -> Archive:
    return Archive(Pacs(stub.url), {"Modality": ["MR", "CT"]}, lambda: [])


@pytest.fixture
def uid(stub: Stub, files: list[Path]) -> str:
    return stub.add(files, PatientName={"Alphabetic": "Ada^Test"}, SeriesDescription="T1/axial", StudyDate="20240131")


@pytest.fixture
def draw(tmp_path: Path) -> Callable[[Archive, str], Path]:
    """A finished mask of a scan."""

    def drawn(store: Archive, uid: str) -> Path:
        grid = read_grid(Path(store.get_image_uri(uid)))
        voxels = np.zeros(grid.shape, np.uint8)
        voxels[2:8, 2:8, 1:4] = 1
        nib.save(nib.Nifti1Image(voxels, grid.affine), tmp_path / "mask.nii.gz")
        return tmp_path / "mask.nii.gz"

    return drawn


def outbox(store: Archive) -> list[Path]:
    """Folders of masks that wait."""
    return sorted(path for path in (store.folder / "outbox").iterdir() if not path.name.startswith("."))


def until_sent(stub: Stub, store: Archive, count: int) -> None:
    end = time.monotonic() + 20
    while (len(stub.stored) < count or outbox(store)) and time.monotonic() < end:
        time.sleep(0.05)
    assert len(stub.stored) == count
    assert not outbox(store)


def test_scans_have_names_that_people_can_read(stub: Stub, uid: str) -> None:
    store = opened(stub)
    assert store.list_images() == [uid]
    assert store.title(uid).startswith("Ada Test · 2024-01-31 · T1/axial · ")
    assert store.local(uid) is None
    info = store.get_image_info(uid)
    assert (info["SeriesInstanceUID"], info["StudyDate"], info["title"]) == (uid, "20240131", store.title(uid))
    assert info["name"] == f"{store.title(uid).replace('/', '_')}.nii.gz"
    assert "path" not in info
    assert store.get_image_info("1.2.3") == {}
    assert store.title("1.2.3") == "1.2.3"


def test_what_clients_said_of_a_series_stays_whether_it_is_here_or_not(stub: Stub, uid: str) -> None:
    store = opened(stub)
    store.update_image_info(uid, {"ward": 3})
    assert store.get_image_info(uid)["ward"] == 3
    shutil.rmtree(store.source(uid) or "")
    Path(store.get_image_uri(uid)).unlink()
    assert opened(stub).get_image_info(uid)["ward"] == 3
    with pytest.raises(NotFoundError):
        store.update_image_info("1.2.3.4", {})


def test_a_series_is_fetched_once_and_again_when_it_has_grown(stub: Stub, files: list[Path]) -> None:
    uid = stub.add(files[:4])
    store = opened(stub)
    assert read_grid(Path(store.get_image_uri(uid))).shape[2] == 4
    assert store.local(uid) == Path(store.get_image_uri(uid))
    fetched = [path for path, _ in stub.asked if "/studies/" in path]
    assert len(fetched) == 1
    stub.series.clear()
    stub.add(files)
    assert read_grid(Path(opened(stub).get_image_uri(uid))).shape[2] == 6
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(
        [".lock", uid, f"{uid}.nii.gz", "incoming", "labels", "outbox"]
    )
    assert list((store.folder / "incoming").iterdir()) == []


def test_scans_come_and_go_through_the_archive_alone(stub: Stub, uid: str, files: list[Path]) -> None:
    store = opened(stub)
    with pytest.raises(WssegError, match="send it to the archive"):
        store.add_image("new", str(files[0]), {})
    with pytest.raises(WssegError, match="remove it in the archive"):
        store.remove_image(uid)
    for wrong in ("../../x", "1..2", "nothing", ""):
        assert store.get_image_uri(wrong) == ""


def test_a_finished_mask_is_sent_and_kept(stub: Stub, uid: str, draw: Callable[[Archive, str], Path]) -> None:
    store = opened(stub)
    store.save_label(uid, str(draw(store, uid)), "original", INFO)
    assert (stub.stored, store.get_labeled_images()) == ([], [])
    store.save_label(uid, str(draw(store, uid)), "final", INFO)
    [sent] = stub.stored
    assert [segment.SegmentLabel for segment in sent.SegmentSequence] == ["left"]
    assert store.get_labeled_images() == [uid]
    assert outbox(store) == []


def test_a_mask_that_cannot_be_sent_now_is_sent_once_it_can(
    stub: Stub, uid: str, draw: Callable[[Archive, str], Path]
) -> None:
    store = opened(stub)
    mask = draw(store, uid)
    stub.failing = [503] * 6
    with pytest.raises(KeptError, match=r"status 503.*; the mask is kept and will be sent, do not send it again"):
        store.save_label(uid, str(mask), "final", INFO)
    assert store.get_labeled_images() == [uid]
    until_sent(stub, store, 1)


def test_whatever_the_writer_says_the_mask_is_kept(
    stub: Stub,
    uid: str,
    draw: Callable[[Archive, str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = opened(stub)
    mask = draw(store, uid)
    write = writer.write_seg
    for error, said in (
        (WssegError("StudyDate: 20241399 is no date"), "StudyDate: 20241399 is no date"),
        (ValueError("Invalid PatientName Ada^Test"), r"cannot be written as DICOM SEG \(ValueError\)"),
    ):

        def refuse(*args: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(writer, "write_seg", refuse)
        with pytest.raises(KeptError, match=f"{said}; the mask is kept"):
            store.save_label(uid, str(mask), "final", INFO)
        assert any(re.search(said, (item / "why.txt").read_text("utf-8")) for item in outbox(store))
    assert store.get_labeled_images() == [uid]
    waiting = outbox(store)
    assert len(waiting) == 2
    for item in waiting:
        assert (item / "mask.nii.gz").read_bytes() == mask.read_bytes()
        assert json.loads((item / "submitted.json").read_text("utf-8")) == {"image": uid, "info": INFO}
    assert "Ada" not in caplog.text
    assert uid not in caplog.text
    monkeypatch.setattr(writer, "write_seg", write)
    until_sent(stub, store, 2)


def test_masks_that_fit_no_scan_are_refused_and_not_kept(stub: Stub, uid: str, tmp_path: Path) -> None:
    store = opened(stub)
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), tmp_path / "other.nii.gz")
    with pytest.raises(WssegError, match="another grid"):
        store.save_label(uid, str(tmp_path / "other.nii.gz"), "final", INFO)
    with pytest.raises(NotFoundError):
        store.save_label("1.2.3.4", str(tmp_path / "other.nii.gz"), "final", INFO)
    assert (outbox(store), store.get_labeled_images(), stub.stored) == ([], [], [])


def test_a_mask_of_a_series_that_is_not_here_while_the_archive_is_away(
    stub: Stub, uid: str, draw: Callable[[Archive, str], Path]
) -> None:
    store = opened(stub)
    mask = draw(store, uid)
    Path(store.get_image_uri(uid)).unlink()
    stub.failing = [503] * 12
    with pytest.raises(KeptError):
        store.save_label(uid, str(mask), "final", INFO)
    until_sent(stub, store, 1)


def test_what_waits_is_sent_after_a_restart(
    stub: Stub, uid: str, draw: Callable[[Archive, str], Path], monkeypatch: pytest.MonkeyPatch, files: list[Path]
) -> None:
    store = opened(stub)
    folder = store.folder / "outbox"
    shutil.copy(files[0], folder / "0123.dcm")  # as versions before this one kept them
    half = folder / ".wsseg-4567"
    half.mkdir()
    (half / "mask.nii.gz").touch()
    old = folder / ".wsseg-89.dcm"
    old.touch()
    monkeypatch.setattr("wsseg.files._BEGUN", -1.0)
    again = opened(stub)
    until_sent(stub, again, 1)
    assert list(folder.iterdir()) == []


def test_what_a_kill_left_of_a_download_is_swept(stub: Stub, uid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming = cache_folder(stub.url) / "incoming"
    (incoming / "0123").mkdir(parents=True)
    (incoming / "0123" / "000001.dcm").touch()
    monkeypatch.setattr("wsseg.files._BEGUN", -1.0)
    opened(stub)
    assert list(incoming.iterdir()) == []


def test_an_archive_that_never_answered(stub: Stub, uid: str, caplog: pytest.LogCaptureFixture) -> None:
    stub.failing = [503] * 20
    store = opened(stub)
    with pytest.raises(UnavailableError, match="status 503"):
        store.list_images()
    stub.failing.clear()
    store._list()
    assert store.list_images() == [uid]


def test_two_servers_fetch_one_series(stub: Stub, uid: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    stores = [opened(stub) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda store: store.get_image_uri(uid), stores))
    assert len(set(found)) == 1
    assert read_grid(Path(found[0])).shape[2] == 6
