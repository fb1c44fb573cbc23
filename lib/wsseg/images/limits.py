"""How large a scan may be, told by its header before anything of it is read; data that say otherwise are refused.

Nor may a small file keep a library busy for minutes: in how many parts it may be has bounds too.
"""

from __future__ import annotations

import io
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wsseg.errors import WssegError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SCAN_GB = "WSSEG_MAX_SCAN_GB"
"""The environment's variable with the largest scan, which ``--max-scan-gb`` sets."""

DEFAULT_MAX_SCAN_GB = 1.0
"""In GiB of four bytes a voxel, as networks read them: 512 x 512 x 1024 voxels, or a colour picture of 9459 x 9459."""

NEAREST_MM, FARTHEST_MM = 0.01, 100.0
"""Between two voxels; beyond, a header is wrong, or meant for no patient."""

_CHUNK = 1 << 20

_PACKED = 1 << 16
"""Bytes that are unpacked at a time: behind the end of a member the rest of them is copied."""

_GZIP = 31
"""To zlib: a gzip member, its header and checksum included."""

MOST_MEMBERS = 100_000
"""Of a gzip file; bgzip makes one of each 64 KB."""

FREE_READS, BYTES_A_READ = 30_000, 1024
"""A file is read in at most so many pieces, and one more for each so many bytes: empty ones take as long as others."""


def max_scan_gb() -> float:
    """The largest scan.

    Raises:
        WssegError: the environment names none.
    """
    given = os.environ.get(MAX_SCAN_GB) or str(DEFAULT_MAX_SCAN_GB)
    try:
        size = float(given)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise WssegError(f"{MAX_SCAN_GB}: {given!r} is no size in GiB, give a number above 0")
    return size


def check_size(shape: Sequence[int], itemsize: int, source: object) -> None:
    """Refuse what would fill the memory.

    Args:
        shape: of the voxels, colours included.
        itemsize: bytes of one; fewer than four count as four.
        source: the file, for the error's sentence.
    """
    size = math.prod(shape) * max(4, itemsize) / 2**30
    if size > max_scan_gb():
        raise WssegError(
            f"{source}: holds {' x '.join(map(str, shape))} values, {size:.3g} GiB in memory, "
            f"at most {max_scan_gb():g} GiB are read, --max-scan-gb (or {MAX_SCAN_GB}) allows more"
        )


def check_spacing(spacing: Sequence[float] | NDArray[np.floating], field: str, source: object) -> None:
    """Refuse millimetres between voxels that no scanner makes.

    Args:
        field: of the header that they come from.
        source: the file, for the error's sentence.
    """
    for size in spacing:
        if not NEAREST_MM * 0.999 <= size <= FARTHEST_MM * 1.001:
            raise WssegError(
                f"{source}: {field} says {size:.4g} mm between voxels, between {NEAREST_MM} and {FARTHEST_MM:g} mm "
                "are read"
            )


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes.

    Raises:
        WssegError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise WssegError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def unpacked(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    """What gzip has packed into the rest of a file, its checksum verified at the end.

    Raises:
        WssegError: gzip finds it damaged.
    """
    try:
        with io.BufferedReader(_Members(file, path), _CHUNK) as stream:
            yield stream
    except (EOFError, zlib.error) as error:
        raise WssegError(f"{path}: cannot be read as an image, its gzip is damaged or cut off ({error})") from error


class _Members(io.RawIOBase):
    """What the members of a gzip file hold, one after the other, each checked by zlib at its end.

    Python's own reader goes through headers byte by byte: a file name of 100 MB takes it a minute.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._member = zlib.decompressobj(_GZIP)
        self._waiting = b""
        self._members = 1

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # what BufferedReader gives
        """Unpack some bytes.

        Raises:
            EOFError: a member is cut off.
            zlib.error: one is damaged.
            WssegError: there are too many.
        """
        while True:
            if self._member.eof and not self._begin():
                return 0
            packed = self._member.unconsumed_tail or self._waiting or self._file.read(_PACKED)
            self._waiting = b""
            if not packed:
                raise EOFError("its end is missing")
            part = self._member.decompress(packed, len(buffer))
            if part:
                buffer[: len(part)] = part
                return len(part)

    def _begin(self) -> bool:
        """The next member, behind zeros that may pad the last one; False where there is none."""
        rest = self._member.unused_data.lstrip(b"\0")
        while not rest and (more := self._file.read(_PACKED)):
            rest = more.lstrip(b"\0")
        if not rest:
            return False
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise WssegError(f"{self._path}: is packed in more than {MOST_MEMBERS} parts, pack it anew")
        self._member, self._waiting = zlib.decompressobj(_GZIP), rest
        return True


class CountedReads(io.BufferedReader):
    """Bytes for a library that walks through all parts that they claim to have, however many and small.

    Args:
        raw: a file, or bytes.
        path: for the error's sentence.
        size: of all bytes.
    """

    def __init__(self, raw: io.FileIO | io.BytesIO, path: Path, size: int) -> None:
        super().__init__(raw)
        self._path = path
        self._left = FREE_READS + size // BYTES_A_READ

    @classmethod
    def of(cls, path: Path) -> CountedReads:
        """A file.

        Raises:
            OSError: it cannot be read.
        """
        file = io.FileIO(str(path))
        return cls(file, path, os.fstat(file.fileno()).st_size)

    def read(self, size: int | None = -1) -> bytes:
        """As any file.

        Raises:
            WssegError: often enough.
        """
        self._left -= 1
        if self._left < 0:
            raise WssegError(f"{self._path}: is in more parts than a scan has, it may be damaged")
        return super().read(size)


def skip(stream: BinaryIO, count: int, path: Path) -> None:
    """Pass over so many bytes, which must be there."""
    while count:
        passed = len(stream.read(min(count, _CHUNK)))
        if not passed:
            raise WssegError(f"{path}: cannot be read as an image, it is cut off before its voxels")
        count -= passed


def read_last(stream: BinaryIO, count: int, path: Path) -> bytearray:
    """The last ``count`` bytes of a file.

    Raises:
        WssegError: there are fewer or more, so that the header does not belong to them.
    """
    found = bytearray()
    while len(found) < count and (part := stream.read(min(count - len(found), _CHUNK))):
        found += part
    if len(found) < count:
        raise WssegError(
            f"{path}: cannot be read as an image, it is cut off: {len(found)} bytes of voxels, its header says {count}"
        )
    if stream.read(1):
        raise WssegError(f"{path}: goes on after its {count} bytes of voxels, so its header is wrong")
    return found
