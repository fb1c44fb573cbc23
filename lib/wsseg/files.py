"""Files and folders: written as a whole, in the work directory, under names that hold no path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from wsseg.errors import WssegError

PART = ".wsseg-"
"""How names of files begin that are still being written."""


def home() -> Path:
    """The work directory: ``$WSSEG_HOME``, else ``~/.wsseg``."""
    return Path(os.environ.get("WSSEG_HOME") or Path.home() / ".wsseg")


def is_plain(name: str) -> bool:
    """Whether a name, joined to a folder, stays in it."""
    return not set(name) & set("/\\\0") and name not in ("", ".", "..")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place if all goes well.

    Nobody ever sees half a file; a full disk or a read-only folder becomes one
    sentence, and nothing is left behind.
    """
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix
    part = path.parent / f"{PART}{uuid4().hex}{suffix}"
    try:
        part.touch(exist_ok=False)
        yield part
        _to_disk(part)  # a power cut must not leave the new name with nothing behind it
        part.replace(path)
        _to_disk(path.parent)
    except (OSError, RuntimeError) as error:  # SimpleITK raises RuntimeError for a full disk
        reason = getattr(error, "strerror", None) or str(error).strip().rpartition("\n")[2]
        raise WssegError(f"{path}: cannot be written ({reason})") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, if they are not there yet."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WssegError(f"{path}: cannot be made ({error.strerror})") from error
