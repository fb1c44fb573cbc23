"""The files of a folder by case: what lies there, and not what links lead to."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from wsseg.errors import WssegError
from wsseg.images.formats.table import EXTENSIONS, case_name

logger = logging.getLogger(__name__)

SETTLED = 2.0
"""Seconds after which another change to a folder gives it another time, on any file system."""

AGAIN = 0.2
"""Seconds for which a folder that changed within ``SETTLED`` is not looked at again."""

_ORDER = {extension: place for place, extension in enumerate(EXTENSIONS)}


def is_inside(root: Path, folder: Path, name: str) -> bool:
    """Whether a file is in the folder that it seems to be in; only ``root`` itself may be a link.

    Whoever may put a link into the folder could read and overwrite by it
    whatever the server may.
    """
    return (folder / name).resolve().is_relative_to(root.resolve() / folder.relative_to(root))


def refuse_link(root: Path, folder: Path, name: str) -> None:
    """Raise WssegError where writing a file would write elsewhere."""
    if not is_inside(root, folder, name):
        raise WssegError(f"{name}: cannot be stored, a link of that name leads out of the studies folder")


class CaseFiles:
    """Files of one folder, listed again whenever it has changed.

    Args:
        root: of the studies.
        folder: in it, or the root.
        wanted: tells by its name whether a file is listed.
    """

    def __init__(self, root: Path, folder: Path, wanted: Callable[[Path], bool]) -> None:
        self._root = root
        self._folder = folder
        self._wanted = wanted
        self._changed = -1
        self._looked = 0.0
        self._cases: dict[str, list[Path]] = {}

    def cases(self) -> dict[str, list[Path]]:
        """Files by case; of one case they differ in their type, in the order of ``EXTENSIONS``."""
        try:
            changed = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return {}
        now = time.time()
        settled = self._looked - changed / 1e9 > SETTLED or 0 <= now - self._looked < AGAIN
        if changed != self._changed or not settled:
            self._cases, self._changed, self._looked = self._found(), changed, now
        return self._cases

    def of(self, case: str) -> list[Path]:
        """Files of one case."""
        return self.cases().get(case, [])

    def forget(self) -> None:
        """List them again at the next question."""
        self._changed = -1

    def _found(self) -> dict[str, list[Path]]:
        if not is_inside(self._root, self._folder, ""):
            logger.warning("%s: is a link to elsewhere, it is left out", self._folder)
            return {}
        cases: dict[str, list[Path]] = {}
        links = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                path = self._folder / entry.name
                if not self._wanted(path):
                    continue
                if entry.is_symlink() and not is_inside(self._root, self._folder, entry.name):
                    links += 1
                elif entry.is_file():
                    cases.setdefault(case_name(path), []).append(path)
        if links:
            logger.warning("%s: files that are links to elsewhere are left out: %d", self._folder, links)
        return {case: sorted(files, key=_place) for case, files in sorted(cases.items())}


def extension_of(file: Path) -> str:
    """What :func:`case_name` leaves away, as it is written."""
    return file.name[len(case_name(file)) :]


def _place(file: Path) -> tuple[int, str]:
    return _ORDER.get(extension_of(file).lower(), len(_ORDER)), file.name
