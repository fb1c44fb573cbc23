"""The lock that makes training one job at a time per work directory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import BinaryIO

from wsseg.errors import WssegError
from wsseg.files import make_folder

try:
    import fcntl
except ImportError:  # not on Windows, where files are not inherited either: the server starts, but trains nothing
    fcntl = None  # type: ignore[assignment]

_TRIES = 25


class TrainerLock:
    """A file that is locked while a training process lives, and that names it.

    The operating system unlocks it when the last process that inherited it has
    ended, however it ended. So a number in the file is that of the trainer
    exactly while the file is locked: one that is left behind, and has since been
    given to another process, is never taken for it. Libraries such as filelock
    have no locks that outlive the process that took them.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self) -> BinaryIO | None:
        """The locked file, to be closed; a process that inherits it keeps it locked. None if it is taken.

        Raises:
            WssegError: it cannot be written, or there are no locks that can be inherited.
        """
        if not self.works():
            raise WssegError("a server trains on Linux and macOS only; `wsseg train` does everywhere")
        make_folder(self._path.parent)
        try:
            file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)
        except OSError as error:
            raise WssegError(f"{self._path}: cannot be written ({error.strerror})") from error
        for _ in range(_TRIES):  # whoever only looks holds it for an instant
            if _locked(file, fcntl.LOCK_EX):
                file.truncate(0)
                return file
            time.sleep(0.02)
        file.close()
        return None

    @staticmethod
    def works() -> bool:
        """Whether the system has locks that can be inherited."""
        return fcntl is not None

    @staticmethod
    def name(file: BinaryIO, pid: int) -> None:
        """Write whose it is."""
        os.pwrite(file.fileno(), str(pid).encode(), 0)

    def held(self) -> bool:
        """Whether somebody prepares or carries out a job."""
        if not self.works():
            return False
        try:
            with self._path.open("rb") as file:
                return not _locked(file, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False

    def pid(self) -> int | None:
        """The trainer's process, None if there is none."""
        if not self.held():
            return None
        number = self._path.read_bytes()
        return int(number) if number.isdigit() else None


def _locked(file: BinaryIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
