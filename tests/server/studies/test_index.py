"""MONAI Label's list of images: never half-written, never lost, and a damaged one stops no server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monailabel.datastore.local import LocalDatastore

from wsseg.errors import WssegError
from wsseg.server.studies.folder import ScanFolder
from wsseg.server.studies.index import FILE, Index


def test_a_kill_while_it_is_written_leaves_the_list_as_it_was(tmp_path: Path) -> None:
    store = ScanFolder(tmp_path)
    store.set_description("old")
    path = tmp_path / FILE
    before = path.read_text("utf-8")
    with path.open(encoding="utf-8") as reading:  # sees one file to its end, whatever takes its place
        store.set_description("new")
        assert reading.read() == before
    assert json.loads(path.read_text("utf-8"))["description"] == "new"
    assert ScanFolder(tmp_path).description() == "new"
    assert not list(tmp_path.glob(".wsseg-*"))


def test_monai_labels_own_lists_are_read_and_it_reads_ours(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    theirs = LocalDatastore(str(tmp_path))
    theirs.update_image_info("a", {"ward": 3})
    theirs.save_label("a", str(tmp_path / "a.nii.gz"), "final", {"by": "ada"})
    ours = ScanFolder(tmp_path)
    assert (ours.get_image_info("a")["ward"], ours.get_label_info("a", "final")["by"]) == (3, "ada")
    ours.update_label_info("a", "final", {"by": "bo"})
    again = LocalDatastore(str(tmp_path))
    assert (again.get_image_info("a")["ward"], again.get_label_info("a", "final")["by"]) == (3, "bo")


@pytest.mark.parametrize(
    "damaged", [b"", b'{"name": "x", "obj', b"[]", b"\xff\xfe", b'{"objects": {"a": 5}}', b"[" * 100_000, bytes(1000)]
)
def test_a_damaged_list_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, damaged: bytes) -> None:
    (tmp_path / "a.nii.gz").touch()
    (tmp_path / FILE).write_bytes(damaged)
    store = ScanFolder(tmp_path)
    assert store.list_images() == ["a"]
    store.update_image_info("a", {"ward": 3})
    assert ScanFolder(tmp_path).get_image_info("a")["ward"] == 3
    [aside] = tmp_path.glob("datastore_v2.damaged-*.json")
    assert aside.read_bytes() == damaged
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("wsseg")]
    assert line == f"datastore_v2.json is damaged: kept as {aside.name}, and begun anew from the files there are"


def test_a_list_that_is_damaged_while_the_server_runs(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    store = ScanFolder(tmp_path)
    store.update_image_info("a", {"ward": 3})
    (tmp_path / FILE).write_bytes(b"")
    assert "ward" not in store.get_image_info("a")
    store.update_image_info("a", {"ward": 4})
    assert store.get_image_info("a")["ward"] == 4


def test_nothing_is_stored_that_cannot_be_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").touch()
    store = ScanFolder(tmp_path)
    with pytest.raises(WssegError, match="nan"):
        store.update_image_info("a", {"a": float("nan")})
    assert "a" not in store.get_image_info("a")
    listed = '{"name": "", "description": "", "objects": {"a": {"image": {"ext": ".nii.gz", "info": {"b": NaN}}}}}'
    (tmp_path / FILE).write_text(listed, encoding="utf-8")
    assert store.get_image_info("a")["b"] is None


def test_fields_of_other_versions_are_kept(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"name": "n", "description": "d", "colour": "red", "objects": {}}', encoding="utf-8")
    index = Index(tmp_path)
    with index.change() as listed:
        listed.description = "new"
        index.write(listed)
    assert json.loads((tmp_path / FILE).read_text("utf-8"))["colour"] == "red"
