"""Archives of images, unpacked for a session: they may be anything."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from wsseg.errors import WssegError
from wsseg.files import is_full

_UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What damaged archives raise."""


class TooLargeError(WssegError):
    """More than there is room for; status 413."""

    status = 413


def unpack(archive: Path, folder: Path, room: int) -> int:
    """Unpack into a folder.

    Args:
        archive: its name says of which kind it is, whatever else can be read from it.
        folder: is there.
        room: bytes that there are for it.

    Returns:
        The bytes that it took.

    Raises:
        TooLargeError: there is not enough room.
        WssegError: it is damaged, or holds more than files and folders.
        OSError: the disk is full.
    """
    try:
        size = 0
        for part in _sizes(archive):
            size += part
            if size > room:
                raise TooLargeError(f"{archive.name}: holds more than an upload may")
        # Of .zip names that lead out of the folder are left out, of .tar they are refused with this filter only.
        if _is_zip(archive):
            shutil.unpack_archive(archive, folder)
        else:
            shutil.unpack_archive(archive, folder, filter="data")
    except _UNREADABLE as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise WssegError(f"{archive.name}: is not an archive that can be unpacked (.zip, .tar.gz)") from error
    return size


def _is_zip(archive: Path) -> bool:
    return archive.name.endswith(".zip")


def _sizes(archive: Path) -> Iterator[int]:
    """Bytes of one file after the other, read no further than asked for: a small archive may claim any number."""
    if _is_zip(archive):
        with zipfile.ZipFile(archive) as listed:
            yield from (entry.file_size for entry in listed.infolist())
        return
    with tarfile.open(archive) as listed:
        for entry in listed:
            if not entry.isfile() and not entry.isdir():
                raise WssegError(f"{archive.name}: holds a link or a device, pack the files themselves")
            yield tarfile.BLOCKSIZE + entry.size
