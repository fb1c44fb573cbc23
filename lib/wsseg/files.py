"""Files and folders: written as a whole, in the work directory, under names that hold no path."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from wsseg.errors import FullError, WssegError

try:
    import fcntl
except ImportError:  # not on Windows, where drafts that a kill leaves are removed after a day
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

PART = ".wsseg-"
"""How names of files begin that are still being written."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_ROOM = 1 << 16
"""Bytes."""

_BEGUN, _FORGOTTEN = 2.0, 86_400.0
"""Seconds within which a draft may not be held yet, and after which it is nobody's even where locks do not work."""


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
    with draft(path) as part:
        yield part
        put(part, path)


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` and of its type, removed at the end unless :func:`put` took it away."""
    suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix
    part = path.parent / f"{PART}{uuid4().hex}{suffix}"
    try:
        part.touch(exist_ok=False)
        with held(part):
            yield part
    except (OSError, RuntimeError) as error:  # SimpleITK raises RuntimeError for a full disk
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def put(part: Path, path: Path) -> None:
    """Let a finished draft take its place, on disk too: a power cut leaves the old file or the new one."""
    _to_disk(part)
    part.replace(path)
    _to_disk(path.parent)


def unwritable(path: Path, error: OSError | RuntimeError) -> WssegError:
    """Why a file cannot be written, in one sentence."""
    reason = getattr(error, "strerror", None) or str(error).strip().rpartition("\n")[2]
    kind = FullError if no_room(path.parent, error) else WssegError
    return kind(f"{path}: cannot be written ({reason})")


def no_room(folder: Path, error: OSError | RuntimeError) -> bool:
    """Whether an error was for want of room; SimpleITK does not say, so not even a small file fits then."""
    if isinstance(error, OSError):
        return is_full(error)
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _ROOM
    return False


def is_full(error: OSError) -> bool:
    """Whether a disk, or somebody's part of it, is full."""
    return error.errno in _FULL


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Show others, and :func:`sweep`, that somebody works on a file or folder: by a lock, which ends with its process.

    Yields:
        Whether nobody else does.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        yield _lock(handle) is not False
    finally:
        os.close(handle)


def sweep(folder: Path, *patterns: str) -> None:
    """Remove what killed processes left under these names, but nothing that somebody works on."""
    left = [path for pattern in patterns for path in folder.glob(pattern) if _is_abandoned(path)]
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    if left:
        logger.info("%s: %d unfinished files of an earlier run were removed", folder, len(left))


def _is_abandoned(path: Path) -> bool:
    """Whether nobody holds a draft; where locks do not work, as on some network drives, after a day."""
    try:
        age = time.time() - path.stat().st_mtime
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return age > _BEGUN and (age > _FORGOTTEN if (locked := _lock(handle)) is None else locked)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool | None:
    """Lock an open file or folder until it is closed: False if another has it, None where that does not work."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


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
