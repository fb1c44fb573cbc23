"""MONAI Label's list of images and labels, written as a whole.

Its own way empties the file and fills it again: a server that is killed between
leaves an empty one, with which none starts again.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

from filelock import FileLock
from monailabel.datastore.local import LocalDatastore

from wsseg.files import whole_file


def write_datastores_whole() -> None:
    """Replace how every datastore of this process, of a folder or an archive, is written."""
    LocalDatastore._update_datastore_file = _update_datastore_file


def _update_datastore_file(self: LocalDatastore, lock: bool = True) -> None:
    content = json.dumps(self._datastore.model_dump(exclude={"base_path"}), indent=2, default=str)
    path = Path(self._datastore_config_path)
    with FileLock(self._lock_file) if lock else nullcontext():
        with whole_file(path) as part:
            part.write_text(content)
        self._config_ts = path.stat().st_mtime
