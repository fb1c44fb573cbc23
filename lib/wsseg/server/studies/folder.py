"""A folder of studies as MONAI Label's datastore."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

from wsseg.errors import ConflictError, NotFoundError, WssegError, naming
from wsseg.files import draft, put
from wsseg.images.folder import is_scan
from wsseg.images.formats.table import EXTENSIONS
from wsseg.server.studies.case_files import CaseFiles, extension_of, refuse_link
from wsseg.server.studies.index import Info, Known, Record
from wsseg.server.studies.store import LABELS, ScanStore, is_name, seconds

logger = logging.getLogger(__name__)

LONGEST = 255
"""Bytes of a file's name."""

REPLACED = "replaced"
"""The folder beside those of the tags that masks of replaced scans are kept in."""


class ScanFolder(ScanStore):
    """Scans of every type that can be read; masks and scribbles beside them are none.

    Of files that differ in their type alone the first of ``EXTENSIONS`` is
    listed, so that a scan stays itself when a picture of it is put beside it.

    Args:
        folder: of the scans.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._scans = CaseFiles(folder, folder, is_scan)
        hidden = sum(len(files) - 1 for files in self._scans.cases().values())
        if hidden:
            logger.warning("%d files have the name of another scan, they are not listed", hidden)

    def list_images(self) -> list[str]:
        """Ids of all scans: their files' names without the extension."""
        return list(self._scans.cases())

    def local(self, image_id: str) -> Path | None:
        """A scan's file."""
        return next(iter(self._scans.of(image_id)), None)

    def source(self, image_id: str) -> Path | None:
        """The same."""
        return self.local(image_id)

    def title(self, image_id: str) -> str:
        """Its id, which is what people named the file."""
        return image_id

    def refresh(self) -> None:
        """Look at the files again."""
        super().refresh()
        self._scans.forget()

    def add_image(self, image_id: str, image_filename: str, image_info: Info, replace: bool = False) -> str:
        """Keep a scan.

        Args:
            image_id: its name without the extension.
            image_filename: the file, which is copied.
            image_info: what is known of it.
            replace: put it in place of the scan of that name, if there is one; its masks are kept aside.

        Raises:
            ConflictError: there is one, and it is not to be replaced.
            WssegError: no scan can have that name, or there is no room.
        """
        extension = extension_of(Path(image_filename))
        path = self.folder / f"{image_id}{extension}"
        _check_name(image_id, path)
        refuse_link(self.folder, self.folder, path.name)
        with naming(path, path.name), draft(path) as part:
            shutil.copyfile(image_filename, part)
            with self.index.change() as listed:
                self._scans.forget()
                there = self._scans.of(image_id)
                if there and not replace:
                    raise ConflictError(f'image "{image_id}" is there already, ask to replace it or take another name')
                info = {**image_info, "ts": seconds(part), "name": path.name}
                listed.objects[image_id] = Record(image=Known(ext=extension, info=info))
                self.index.write(listed)
                self._keep_aside(image_id)
                put(part, path)
                for file in there:
                    if file != path:
                        file.unlink(missing_ok=True)
        self._scans.forget()
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Remove a scan and its masks.

        Raises:
            NotFoundError: there is none of that id.
        """
        files = self._scans.of(image_id)
        if not files:
            raise NotFoundError(f'image "{image_id}" is unknown')
        for tag in self.get_labels_by_image_id(image_id):
            self._remove(image_id, tag)
        for file in files:
            file.unlink(missing_ok=True)
        self._scans.forget()
        with self.index.change() as listed:
            if listed.objects.pop(image_id, None):
                self.index.write(listed)

    def _keep_aside(self, image_id: str) -> None:
        """Masks of a scan that is replaced are not about the new one: they are kept, and listed no more."""
        aside = self.folder / LABELS / REPLACED
        for tag in self.get_labels_by_image_id(image_id):
            for file in self._tagged(tag).of(image_id):
                aside.mkdir(exist_ok=True)
                file.replace(aside / f"{image_id}.{tag}.{time.strftime('%Y%m%d-%H%M%S')}{extension_of(file)}")
            self._tagged(tag).forget()


def _check_name(image_id: str, path: Path) -> None:
    """Refuse what could be stored, but not be listed or asked for again."""
    if not is_name(image_id) or not image_id.isprintable() or len(os.fsencode(path.name)) > LONGEST:
        what = f"must be a printable name of at most {LONGEST} bytes that holds no path and does not begin with a dot"
        raise WssegError(f'image "{image_id[:40]}": {what}')
    if not path.name.lower().endswith(EXTENSIONS):
        raise WssegError(f"{path.name}: unknown file type, expected {', '.join(EXTENSIONS)}")
    if not is_scan(path):
        raise WssegError(f"{path.name}: names that end so are those of masks and scribbles beside a scan")
