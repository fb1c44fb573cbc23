"""A folder of scans as MONAI Label's datastore: names, links, a disk that is full, several servers."""

from __future__ import annotations

import json
import multiprocessing
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from full_disk import largest_file
from wsseg.errors import ConflictError, FullError, NotFoundError, WssegError
from wsseg.files import draft
from wsseg.server.studies import case_files
from wsseg.server.studies.folder import ScanFolder


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A link, as its owner may want, to a folder with one scan."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.nii.gz").write_text("scan", encoding="utf-8")
    (tmp_path / "studies").symlink_to(tmp_path / "disk")
    return tmp_path / "studies"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder elsewhere, with what might be a mask of that scan."""
    folder = tmp_path / "outside"
    (folder / "final").mkdir(parents=True)
    for place in (folder, folder / "final"):
        (place / "a.nii.gz").write_text("secret", encoding="utf-8")
    return folder


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    file = tmp_path / "mask.nii.gz"
    file.write_text("mask", encoding="utf-8")
    return file


class TestLinks:
    def test_the_folder_itself_may_be_a_link(self, studies: Path, mask: Path) -> None:
        store = ScanFolder(studies)
        store.save_label("a", str(mask), "mine", {})
        store.add_image("b", str(mask), {})
        assert store.list_images() == ["a", "b"]
        label = store.get_label("a", "mine")
        assert label is not None
        assert label.read() == b"mask"

    def test_linked_scans_are_listed_only_within_the_folder(self, studies: Path, outside: Path) -> None:
        (studies / "b.nii.gz").symlink_to("a.nii.gz")
        (studies / "c.nii.gz").symlink_to(outside / "a.nii.gz")
        (studies / "d.nii.gz").symlink_to("nothing")
        assert ScanFolder(studies).list_images() == ["a", "b"]

    @pytest.mark.parametrize("link", ["labels", "labels/final", "labels/final/a.nii.gz"])
    def test_linked_labels_are_neither_listed_nor_written_through(
        self, studies: Path, outside: Path, mask: Path, link: str
    ) -> None:
        (studies / link).parent.mkdir(parents=True, exist_ok=True)
        (studies / link).symlink_to(outside / "a.nii.gz" if link.endswith(".gz") else outside)
        store = ScanFolder(studies)
        assert store.get_label_uri("a", "final") == ""
        with pytest.raises(WssegError, match="a link"):
            store.save_label("a", str(mask), "final", {})
        assert store.get_labeled_images() == []
        assert {path.read_text("utf-8") for path in outside.rglob("*.gz")} == {"secret"}

    def test_labels_that_became_links_are_forgotten(self, studies: Path, outside: Path, mask: Path) -> None:
        store = ScanFolder(studies)
        store.save_label("a", str(mask), "final", {})
        (studies / "labels" / "final").rename(studies / "labels" / "old")
        (studies / "labels" / "final").symlink_to(outside)
        store.refresh()
        assert store.get_label_uri("a", "final") == ""
        assert store.get_labels_by_image_id("a") == {"old": "a"}

    def test_a_list_that_names_another_folder_is_not_followed(self, studies: Path, outside: Path, mask: Path) -> None:
        listed = f'{{"name": "", "description": "", "images_dir": "{outside}", "labels_dir": "{outside}"}}'
        (studies / "datastore_v2.json").write_text(listed, encoding="utf-8")
        store = ScanFolder(studies)
        assert store.list_images() == ["a"]
        store.add_image("b", str(mask), {})
        assert (studies / "b.nii.gz").read_text("utf-8") == "mask"
        assert not (outside / "b.nii.gz").exists()


class TestNames:
    @pytest.mark.parametrize("hidden", ["._a.nii.gz", ".a.nii.gz", "..nii.gz", "...nii.gz", ".nii.gz", ".b.png"])
    def test_hidden_files_are_never_scans_or_masks(self, studies: Path, hidden: str) -> None:
        (studies / hidden).write_text("x", encoding="utf-8")
        (studies / "labels" / "final").mkdir(parents=True)
        (studies / "labels" / "final" / hidden).write_text("x", encoding="utf-8")
        (studies / "labels" / ".tag").mkdir()
        store = ScanFolder(studies)
        assert store.status() == {"total": 1, "completed": 0, "label_tags": {}}

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "._a", ".x", "a/b", "a\0", "a\nb", "x" * 250, "b_label", "b_scribble"]
    )
    def test_names_that_could_not_be_listed_are_refused(self, studies: Path, mask: Path, name: str) -> None:
        store = ScanFolder(studies)
        with pytest.raises(WssegError):
            store.add_image(name, str(mask), {})
        assert store.list_images() == ["a"]
        assert sorted(path.name for path in studies.iterdir()) == ["a.nii.gz", "labels"]

    @pytest.mark.parametrize("tag", ["", "..", ".x", "a/b"])
    def test_a_tag_is_the_name_of_a_folder(self, studies: Path, mask: Path, tag: str) -> None:
        with pytest.raises(WssegError, match="must be the name of a folder"):
            ScanFolder(studies).save_label("a", str(mask), tag, {})


class TestMasks:
    def test_a_mask_takes_the_place_of_one_of_another_type(self, studies: Path, mask: Path) -> None:
        store = ScanFolder(studies)
        other = mask.with_name("mask.nrrd")
        other.write_text("nrrd", encoding="utf-8")
        store.save_label("a", str(mask), "final", {"by": "ada"})
        store.save_label("a", str(other), "final", {"by": "bo"})
        assert store.datalist() == [
            {"image": str(studies / "a.nii.gz"), "label": str(studies / "labels/final/a.nrrd")},
        ]
        assert store.get_label_info("a", "final")["by"] == "bo"
        store.remove_label("a", "final")
        assert store.get_labeled_images() == []
        assert store.get_label_info("a", "final") == {}

    def test_masks_put_there_by_hand_are_seen_at_once(self, studies: Path, mask: Path) -> None:
        store = ScanFolder(studies)
        assert store.get_unlabeled_images() == ["a"]
        mask.rename(studies / "labels" / "final" / "a.nii.gz")
        assert store.get_labeled_images() == ["a"]
        (studies / "labels" / "final" / "a.nii.gz").unlink()
        (studies / "labels" / "final" / "unknown.nii.gz").touch()
        assert store.get_labeled_images() == []

    def test_of_a_scan_that_does_not_exist(self, studies: Path, mask: Path) -> None:
        store = ScanFolder(studies)
        with pytest.raises(NotFoundError):
            store.save_label("b", str(mask), "final", {})
        with pytest.raises(NotFoundError):
            store.update_image_info("b", {})
        with pytest.raises(NotFoundError):
            store.update_label_info("a", "final", {})
        with pytest.raises(NotFoundError):
            store.remove_image("b")

    def test_the_dataset_holds_scans_masks_and_the_list(self, studies: Path, mask: Path) -> None:
        store = ScanFolder(studies)
        store.save_label("a", str(mask), "final", {"by": "ada"})
        file = Path(store.get_dataset_archive(None))
        with zipfile.ZipFile(file) as archive:
            assert sorted(archive.namelist()) == ["image/a.nii.gz", "label/a.nii.gz", "metadata.json"]
            told = json.loads(archive.read("metadata.json"))
        file.unlink()
        assert told["objects"]["a"]["labels"]["final"]["info"]["by"] == "ada"
        assert told == store.json()


class TestReplacing:
    def test_only_whoever_asks_for_it_replaces_a_scan(self, studies: Path, mask: Path) -> None:
        store = ScanFolder(studies)
        store.save_label("a", str(mask), "final", {})
        with pytest.raises(ConflictError, match="is there already") as refused:
            store.add_image("a", str(mask), {"ward": 3})
        assert refused.value.status == 409
        assert (studies / "a.nii.gz").read_text("utf-8") == "scan"
        picture = mask.with_name("scan.png")
        picture.write_text("png", encoding="utf-8")
        store.add_image("a", str(picture), {"ward": 3}, replace=True)
        assert store.get_image_uri("a") == str(studies / "a.png")
        assert store.get_image_info("a")["ward"] == 3
        assert store.get_labeled_images() == [], "the mask is of the old scan"
        [kept] = (studies / "labels" / "replaced").iterdir()
        assert kept.read_text("utf-8") == "mask"

    def test_of_two_that_come_at_once_one_is_refused(self, studies: Path, mask: Path) -> None:
        store = ScanFolder(studies)

        def add(ward: int) -> bool:
            try:
                store.add_image("b", str(mask), {"ward": ward})
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            added = list(pool.map(add, range(8)))
        assert sum(added) == 1
        assert store.get_image_info("b")["ward"] == added.index(True)

    def test_what_was_known_of_a_file_of_another_type_is_not_about_this_one(self, studies: Path) -> None:
        store = ScanFolder(studies)
        store.update_image_info("a", {"ward": 3})
        (studies / "a.nii.gz").rename(studies / "a.nrrd")
        assert store.get_image_info("a")["name"] == "a.nrrd"
        assert "ward" not in store.get_image_info("a")


def test_a_full_disk_leaves_nothing_half_written(studies: Path, tmp_path: Path) -> None:
    store = ScanFolder(studies)
    store.save_label("a", str(studies / "a.nii.gz"), "final", {"by": "ada"})
    large = tmp_path / "large.nii.gz"
    large.write_bytes(bytes(100_000))
    before = {path: path.read_bytes() for path in studies.rglob("*") if path.is_file()}
    with largest_file(50_000):
        for write in (
            lambda: store.add_image("b", str(large), {}),
            lambda: store.add_image("a", str(large), {}, replace=True),
            lambda: store.save_label("a", str(large), "final", {}),
            lambda: store.update_image_info("a", {"note": "x" * 100_000}),
        ):
            with pytest.raises(FullError, match="cannot be written") as refused:
                write()
            assert refused.value.status == 507
    assert {path: path.read_bytes() for path in studies.rglob("*") if path.is_file()} == before
    assert store.get_label_info("a", "final")["by"] == "ada"


def _note(studies: Path, server: int) -> None:
    store = ScanFolder(studies)
    for turn in range(5):
        store.update_image_info(f"scan {server}", {f"turn {turn}": server})
        store.save_label(f"scan {server}", str(studies / "scan 0.nii.gz"), f"tag {turn}", {"by": server})


def test_servers_that_share_a_folder_lose_nothing(tmp_path: Path) -> None:
    for server in range(2):
        (tmp_path / f"scan {server}.nii.gz").touch()
    watching = ScanFolder(tmp_path)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_note, [tmp_path] * 2, range(2)))
    for server in range(2):
        info = watching.get_image_info(f"scan {server}")
        assert [info[f"turn {turn}"] for turn in range(5)] == [server] * 5
        assert [watching.get_label_info(f"scan {server}", f"tag {turn}")["by"] for turn in range(5)] == [server] * 5


def test_what_a_killed_server_left_is_swept_and_nobody_elses(studies: Path) -> None:
    places = [studies, studies / "labels" / "final", studies / "labels" / "mine"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        left = place / ".wsseg-0123.nii.gz"
        left.touch()
        os.utime(left, (1e9, 1e9))
    with draft(studies / "b.nii.gz") as live:
        os.utime(live, (1e9, 1e9))
        ScanFolder(studies)
        assert live.exists()
        assert [path for place in places for path in place.glob(".wsseg-*")] == [live]


def test_a_thousand_scans_are_listed_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scan in range(1000):
        (tmp_path / f"{scan}.nii.gz").touch()
    store = ScanFolder(tmp_path)
    looked: list[str] = []
    found = case_files.CaseFiles._found
    monkeypatch.setattr(case_files.CaseFiles, "_found", lambda self: looked.append("") or found(self))
    assert len(store.json()["objects"]) == 1000
    assert len(looked) < 50, "the folder is looked at for each scan"
