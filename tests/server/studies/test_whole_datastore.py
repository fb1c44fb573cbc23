"""MONAI Label's list of images is never half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monailabel.datastore.local import LocalDatastore

from wsseg.server.studies.whole_datastore import write_datastores_whole


def test_a_kill_while_it_is_written_leaves_the_list_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalDatastore, "_update_datastore_file", None)
    write_datastores_whole()
    store = LocalDatastore(str(tmp_path))
    store.set_description("old")
    path = tmp_path / "datastore_v2.json"
    before = path.read_text()
    with path.open() as reading:  # sees one file to its end, whatever takes its place
        store.set_description("new")
        assert reading.read() == before
    assert json.loads(path.read_text())["description"] == "new"
    assert LocalDatastore(str(tmp_path)).description() == "new"
    assert not list(tmp_path.glob(".part*"))
