"""A folder of studies as MONAI Label's datastore."""

from __future__ import annotations

from pathlib import Path

from monailabel.config import settings
from monailabel.datastore.local import LocalDatastore

from wsseg.data.slices import is_scan
from wsseg.volume import EXTENSIONS

PATTERNS = [f"*{form}" for extension in EXTENSIONS for form in (extension, extension.upper())]


class ScanFolder(LocalDatastore):
    """Scans of every type that can be read; masks and scribbles beside them are none.

    Args:
        folder: of the scans.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(
            folder,
            extensions=PATTERNS,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def _list_files(self, path: str, patterns: list[str]) -> dict[str, str]:
        found = super()._list_files(path, patterns)
        return {name: file for name, file in found.items() if is_scan(Path(file))}
