"""MONAI Label's list of images and labels, ``datastore_v2.json``: what is known of them beside their files.

Several servers may share it: every change begins with what is on disk, under a
lock that MONAI Label takes too, and a reader sees the old list or the new one.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from wsseg.errors import UnavailableError, WssegError, naming
from wsseg.files import unwritable, whole_file

logger = logging.getLogger(__name__)

FILE = "datastore_v2.json"

LOCK = ".lock"

LOCK_SECONDS = 60.0
"""Within which whoever else changes the list is done."""

Info = dict[str, Any]
"""A JSON object that clients may extend."""


class Known(BaseModel):
    """What is known of an image or a label.

    Attributes:
        ext: extension of its file.
        info: for MONAI Label's clients, among it ``ts``, seconds since 1970, and ``name``, of the file.
    """

    ext: str = ""
    info: Info = Field(default_factory=dict)


class Record(BaseModel):
    """An image and its labels by tag."""

    image: Known
    labels: dict[str, Known] = Field(default_factory=dict)


class Listed(BaseModel):
    """The whole file; fields of other versions are kept."""

    model_config = ConfigDict(extra="allow")

    name: str = "new-dataset"
    description: str = "New Dataset"
    images_dir: str = "."
    labels_dir: str = "labels"
    objects: dict[str, Record] = Field(default_factory=dict)


class Index:
    """The list of one folder.

    Args:
        folder: holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = folder / LOCK
        self._seen: tuple[int, ...] | None = None
        self._listed = Listed()

    def read(self) -> Listed:
        """What it holds now, not to be changed. A damaged one is set aside, and an empty one begun."""
        seen = self._state()
        if seen != self._seen:
            found = self._parsed()
            if found is None:
                with self._locked():  # whoever was writing it has done so by now
                    seen, found = self._state(), self._parsed()
                    if found is None:
                        self._set_aside()
                        seen, found = None, Listed()
            self._listed, self._seen = found, seen
        return self._listed

    @contextmanager
    def change(self) -> Iterator[Listed]:
        """What it holds, to be changed, and to be written with :meth:`write` before this ends.

        Raises:
            UnavailableError: another server holds the lock.
        """
        self.read()  # sets a damaged one aside
        with self._locked():
            yield self._parsed() or Listed()

    def write(self, listed: Listed) -> None:
        """Put a changed list in place of the old one.

        Raises:
            WssegError: it holds what JSON cannot, or there is no room.
        """
        try:
            text = json.dumps(listed.model_dump(), indent=2, default=str, allow_nan=False)
        except ValueError as error:
            raise WssegError("info: holds a number that JSON has no word for (nan, inf)") from error
        with naming(self.path, self.path.name), whole_file(self.path) as part:
            part.write_text(text, encoding="utf-8")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=LOCK_SECONDS, poll_interval=0.01)
        except Timeout as error:
            raise UnavailableError(f"{FILE}: another server has been changing it for long, try again") from error
        except OSError as error:
            raise unwritable(self._lock, error) from error
        try:
            yield
        finally:
            lock.release()

    def _state(self) -> tuple[int, ...] | None:
        """Another one whenever the file has changed, None where there is none."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _parsed(self) -> Listed | None:
        """The file, an empty list where there is none; None where it is damaged."""
        if not os.path.lexists(self.path):
            return Listed()
        try:
            # Older versions wrote NaN, which no client can read.
            content = json.loads(self.path.read_text("utf-8"), parse_constant=lambda _: None)
            return Listed.model_validate(content)
        except (ValueError, RecursionError):
            return None

    def _set_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.stem}.damaged-{time.strftime('%Y%m%d-%H%M%S')}.json")
        self.path.replace(aside)
        logger.warning("%s is damaged: kept as %s, and begun anew from the files there are", FILE, aside.name)
