"""Links in the studies folder lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from monailabel.datastore.local import LocalDatastore

from wsseg.errors import WssegError
from wsseg.server.studies.links import leave_out_links


@pytest.fixture(autouse=True)
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_list_files", "_remove_non_existing", "add_image", "save_label"):
        monkeypatch.setattr(LocalDatastore, name, getattr(LocalDatastore, name))
    leave_out_links()


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A link, as its owner may want, to a folder with one scan."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.nii.gz").write_text("scan")
    (tmp_path / "studies").symlink_to(tmp_path / "disk")
    return tmp_path / "studies"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder elsewhere, with what might be a mask of that scan."""
    folder = tmp_path / "outside"
    (folder / "final").mkdir(parents=True)
    for place in (folder, folder / "final"):
        (place / "a.nii.gz").write_text("secret")
    return folder


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    file = tmp_path / "mask.nii.gz"
    file.write_text("mask")
    return file


def test_the_folder_itself_may_be_a_link(studies: Path, mask: Path) -> None:
    store = LocalDatastore(str(studies))
    store.save_label("a", str(mask), "mine", {})
    store.add_image("b", str(mask), {})
    store.refresh()
    assert store.list_images() == ["a", "b"]
    assert store.get_label("a", "mine").read() == b"mask"


@pytest.mark.parametrize("link", ["labels", "labels/final", "labels/final/a.nii.gz"])
def test_linked_labels_are_neither_listed_nor_written_through(
    studies: Path, outside: Path, mask: Path, link: str
) -> None:
    (studies / link).parent.mkdir(parents=True, exist_ok=True)
    (studies / link).symlink_to(outside / "a.nii.gz" if link.endswith(".gz") else outside)
    store = LocalDatastore(str(studies))
    assert store.get_label_uri("a", "final") == ""
    with pytest.raises(WssegError, match="a link"):
        store.save_label("a", str(mask), "final", {})
    store.refresh()
    assert store.get_labeled_images() == []
    assert {path.read_text() for path in outside.rglob("*.gz")} == {"secret"}


def test_labels_that_became_links_are_forgotten(studies: Path, outside: Path, mask: Path) -> None:
    store = LocalDatastore(str(studies))
    store.save_label("a", str(mask), "final", {})
    (studies / "labels" / "final").rename(studies / "labels" / "old")
    (studies / "labels" / "final").symlink_to(outside)
    store.refresh()
    assert store.get_label_uri("a", "final") == ""
    assert store.get_label("a", "old").read() == b"mask"


def test_a_list_that_names_another_folder_is_not_followed(studies: Path, outside: Path, mask: Path) -> None:
    listed = f'{{"name": "", "description": "", "images_dir": "{outside}", "labels_dir": "{outside}"}}'
    (studies / "datastore_v2.json").write_text(listed)
    store = LocalDatastore(str(studies))
    assert store.list_images() == []
    with pytest.raises(WssegError, match="cannot be stored"):
        store.add_image("a", str(mask), {})
    assert (outside / "a.nii.gz").read_text() == "secret"
