"""A folder of studies as MONAI Label's datastore."""

from __future__ import annotations

import logging
from pathlib import Path

from monailabel.config import settings
from monailabel.datastore.local import LocalDatastore

from wsseg.images.folder import is_scan
from wsseg.images.formats import EXTENSIONS, case_name

logger = logging.getLogger(__name__)

PATTERNS = [f"*{form}" for extension in EXTENSIONS for form in (extension, extension.upper())]


class ScanFolder(LocalDatastore):
    """Scans of every type that can be read; masks and scribbles beside them are none.

    Of files that differ in their type alone the first of ``EXTENSIONS`` is
    listed, so that a scan stays itself when a picture of it is put beside it.

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
        scans = [file for file in super()._list_files(path, patterns).values() if is_scan(Path(file))]
        listed: dict[str, str] = {}
        for file in scans:  # in the order of the patterns
            listed.setdefault(case_name(Path(file)), file)
        if len(listed) < len(scans):
            logger.warning("%d files have the name of another scan, they are not listed", len(scans) - len(listed))
        return {file: file for file in listed.values()}
