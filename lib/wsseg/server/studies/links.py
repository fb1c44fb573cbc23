"""Files of a studies folder that are links to elsewhere: they are left out.

Whoever may put a link into the folder could read and overwrite by it whatever
the server may.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from monailabel.datastore.local import LocalDatastore

from wsseg.errors import WssegError

logger = logging.getLogger(__name__)

_add_image = LocalDatastore.add_image
_list_files = LocalDatastore._list_files
_remove_non_existing = LocalDatastore._remove_non_existing
_save_label = LocalDatastore.save_label


def leave_out_links() -> None:
    """Replace how every datastore of this process lists and writes files."""
    LocalDatastore._list_files = _inside
    LocalDatastore._remove_non_existing = _remove_outside
    LocalDatastore.add_image = _add_inside
    LocalDatastore.save_label = _save_inside


def _is_inside(self: LocalDatastore, folder: str, name: str) -> bool:
    """Whether a file is in the folder that it seems to be in; only the studies themselves may be a link."""
    root = self._datastore_path  # not image_path(), which a file in the folder may change
    return (Path(folder) / name).resolve().is_relative_to(Path(root).resolve() / os.path.relpath(folder, root))


def _inside(self: LocalDatastore, path: str, patterns: list[str]) -> dict[str, str]:
    found = _list_files(self, path, patterns)
    kept = {name: file for name, file in found.items() if _is_inside(self, path, file)}
    if len(kept) < len(found):
        logger.warning("%s: files that are links to elsewhere are left out: %d", path, len(found) - len(kept))
    return kept


def _remove_outside(self: LocalDatastore) -> int:
    removed = _remove_non_existing(self)
    store = self._datastore
    for image, known in list(store.objects.items()):
        if not _is_inside(self, store.image_path(), self._filename(image, known.image.ext)):
            del store.objects[image]
            removed += 1
            continue
        for tag, label in list(known.labels.items()):
            if not _is_inside(self, store.label_path(tag), self._filename(image, label.ext)):
                del known.labels[tag]
                removed += 1
    return removed


def _add_inside(self: LocalDatastore, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
    given, extension = self._to_id(Path(image_filename).name)
    _refuse_link(self, self._datastore.image_path(), self._filename(image_id or given, extension))
    return _add_image(self, image_id, image_filename, image_info)


def _save_inside(self: LocalDatastore, image_id: str, label_filename: str, label_tag: str, label_info: Any) -> str:
    _, extension = self._to_id(Path(label_filename).name)
    _refuse_link(self, self._datastore.label_path(label_tag), self._filename(image_id, extension))
    return _save_label(self, image_id, label_filename, label_tag, label_info)


def _refuse_link(self: LocalDatastore, folder: str, name: str) -> None:
    if not _is_inside(self, folder, name):
        raise WssegError(f"{name}: cannot be stored, a link of that name leads out of the studies folder")
