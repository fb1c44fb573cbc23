"""Which scan labels are of: its content, whatever it is called and wherever it lies."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from wsseg.errors import FullError, WssegError
from wsseg.files import home, make_folder
from wsseg.images.formats.table import read_grid, read_volume
from wsseg.images.volume import SliceGrid, Volume

CACHE = "contents.sqlite3"
"""The hashes of files that were read once, in the work directory."""

_KIND_OF_HASH = b"wsseg scan 1\n"
"""Hashed first; whoever changes what is hashed counts on, and must bring labels over."""


@dataclass(frozen=True)
class ScanIdentity:
    """A scan as labels are kept of it.

    Attributes:
        name: as people call it; another scan may have had it before.
        content: the :func:`content_of` it.
        shape: voxels along each stored axis.
        axis: the stored axis that its slices run along for a model, 0, 1 or 2.
    """

    name: str
    content: str
    shape: tuple[int, int, int]
    axis: int = 2

    @property
    def slices(self) -> int:
        """Their number."""
        return self.shape[self.axis]

    @classmethod
    def of(cls, name: str, file: Path, default_axis: int = 2) -> ScanIdentity:
        """The scan in a file.

        Args:
            name: of it.
            file: see :func:`wsseg.images.formats.table.read_volume`.
            default_axis: of slices where spacing does not tell, see :class:`SliceGrid`.

        Raises:
            WssegError: unreadable.
        """
        grid = read_grid(file)
        axis = SliceGrid.of(grid, default_axis).stored_axis
        return cls(name, content_of(file), grid.shape, axis)


def hash_of(scan: Volume) -> str:
    """SHA-256 of grid and voxels, as 64 hexadecimal digits.

    Of the same voxels it is the same in any file format, compression or type of
    number: shape, affine in micrometres, then the values as float32.
    """
    digest = hashlib.sha256(_KIND_OF_HASH)
    digest.update(np.array(scan.voxels.shape, "<i8").tobytes())
    digest.update(np.round(scan.affine * 1000).astype("<i8").tobytes())
    for plane in scan.voxels:
        digest.update(np.ascontiguousarray(plane, "<f4").tobytes())
    return digest.hexdigest()


def content_of(file: Path, read: Callable[[Path], Volume] = read_volume) -> str:
    """The :func:`hash_of` the scan in a file, which is read once and then again only when it has changed.

    ``read`` is for those who may have it in memory.

    Raises:
        WssegError: unreadable.
    """
    return _content(home() / CACHE, str(file.absolute()), _state(file), read)


def _state(file: Path) -> str:
    """Another one whenever a file has changed or was replaced."""
    try:
        stat = file.stat()
    except OSError as error:
        raise WssegError(f"{file}: cannot be read ({error.strerror})") from error
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"


@lru_cache(maxsize=100_000)
def _content(cache: Path, file: str, state: str, read: Callable[[Path], Volume]) -> str:
    found = _look_up(cache, file, state)
    if found is None:
        found = hash_of(read(Path(file)))
        make_folder(cache.parent)
        with _opened(cache) as connection:
            connection.execute("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", (file, state, found))
    return found


def _look_up(cache: Path, file: str, state: str) -> str | None:
    if not cache.exists():
        return None
    query = "SELECT content FROM contents WHERE file = ? AND state = ?"
    with _opened(cache) as connection:
        found = connection.execute(query, (file, state)).fetchone()
    return str(found[0]) if found else None


@contextmanager
def _opened(cache: Path) -> Iterator[sqlite3.Connection]:
    """One transaction in the cache."""
    try:
        with closing(sqlite3.connect(cache, timeout=30)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS contents (file TEXT PRIMARY KEY, state TEXT, content TEXT)")
            yield connection
    except sqlite3.Error as error:
        kind = FullError if "full" in str(error) else WssegError
        raise kind(f"{cache}: cannot be used ({error}); it may be deleted, it only saves time") from error
