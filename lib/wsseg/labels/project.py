"""What labels belong to: one folder of studies, or one archive."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import UUID, uuid4

from wsseg.errors import WssegError

FILE = ".wsseg.json"
"""In a studies folder: its identity, which goes with it wherever it is moved."""


@dataclass(frozen=True)
class Project:
    """A folder or an archive, whose labels are its own.

    Attributes:
        id: of its own for ever; the address where none could be kept with it.
        address: where it is now.
    """

    id: str
    address: str

    @property
    def name(self) -> str:
        """What people call it: the folder's name, or the archive's host."""
        parts = urlsplit(self.address)
        return unquote(Path(parts.path).name) if parts.scheme == "file" else parts.netloc

    @classmethod
    def of_folder(cls, folder: Path) -> Project:
        """The project of a studies folder, by the identity in its file ``.wsseg.json``.

        The file is made the first time. A folder that cannot be written to is
        known by its resolved path until it can.

        Raises:
            WssegError: the file is there, but damaged.
        """
        address = folder.resolve().as_uri()
        file = folder / FILE
        if not file.exists():
            with suppress(OSError):  # read-only, or a file system without links
                _make(file)
        return cls(_read(file) if file.exists() else address, address)

    @classmethod
    def of_archive(cls, url: str) -> Project:
        """The project of a DICOMweb archive, known by its address without user and password."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2].lower()
        address = urlunsplit((parts.scheme.lower(), host, parts.path.rstrip("/"), "", ""))
        return cls(address, address)


def project_of(studies: str) -> Project:
    """The project of what a server works on: a folder, or an archive's URL."""
    return Project.of_archive(studies) if is_archive(studies) else Project.of_folder(Path(studies))


def is_archive(studies: str) -> bool:
    """Whether what a server works on is an archive's URL, not a folder."""
    return studies.startswith(("http://", "https://"))


def _make(file: Path) -> None:
    """Give a folder an identity, the same one whoever does it at once."""
    part = file.with_name(f".wsseg-{uuid4().hex}.json")
    try:
        with part.open("x", encoding="utf-8") as out:
            json.dump({"project": str(uuid4())}, out)
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(part, file)
    finally:
        part.unlink(missing_ok=True)


def _read(file: Path) -> str:
    try:
        return str(UUID(json.loads(file.read_text(encoding="utf-8"))["project"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WssegError(
            f"{file}: is damaged, bring it back from a backup, or delete it: "
            "the labels of this folder then start anew, the old ones stay in the database"
        ) from error
