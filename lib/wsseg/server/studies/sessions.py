"""Sessions: images that are uploaded to be segmented, not kept. And the routes under /session/."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, HTTPException, UploadFile
from fastapi.responses import Response
from monailabel.config import settings
from monailabel.endpoints import session as peer
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.sessions import Sessions

from wsseg.errors import NotFoundError, WssegError
from wsseg.server.routes.forms import saved
from wsseg.server.settings import max_upload_mb

_UNREADABLE = (
    *(OSError, ValueError, RuntimeError, EOFError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What damaged archives raise."""

router = APIRouter(
    prefix="/session", tags=["Session"], dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
)


@router.put("/", summary="Create a session with an image")
def create(files: Annotated[list[UploadFile], File()], uncompress: bool = False, expiry: int = 0) -> dict[str, Any]:
    """Keep one file, a series of files, or with ``uncompress`` an archive of one, for ``expiry`` seconds."""
    sessions = _sessions()
    room = max_upload_mb() << 20
    with tempfile.TemporaryDirectory(prefix="wsseg-") as folder:
        series = Path(folder) / "series"
        series.mkdir()
        for file in files:
            with saved(file) as path:
                if uncompress:
                    room -= _unpack(path, series, room)
                else:
                    shutil.move(path, series / path.name)
        found = sorted(series.iterdir())
        if not found:
            raise WssegError("files: the archive is empty")
        image = found[0] if len(found) == 1 else series
        name, session = sessions.add_session(str(image), expiry)
    return {"session_id": name, "session_info": session.to_json()}


@router.get("/{session_id}", summary="Get a session", response_model=None)
def get(session_id: str, update_ts: bool = False, image: bool = False) -> Response | dict[str, Any]:
    """What is known of a session, or its image."""
    session = _sessions().get_session(session_id, update_ts=update_ts)
    if session and image and Path(session.image).is_dir():
        raise WssegError(f'session "{session_id}" holds several files, not one that could be sent')
    return peer.get_session(session_id, update_ts, image)


def _sessions() -> Sessions:
    sessions = app_instance().sessions()
    if sessions is None:
        raise NotFoundError("this server keeps no sessions")
    return sessions


def _unpack(archive: Path, folder: Path, room: int) -> int:
    """Unpack into a folder.

    Args:
        archive: its name says of which kind it is, whatever else can be read from it.
        folder: is there.
        room: bytes that there are for it.

    Returns:
        The bytes that it took.
    """
    # Of .zip names that lead out of the folder are left out, of .tar they are refused with this filter only.
    safely = {} if _is_zip(archive) else {"filter": "data"}
    try:
        size = 0
        for part in _sizes(archive):
            size += part
            if size > room:
                raise HTTPException(413, f"{archive.name}: holds more than the {max_upload_mb()} MB of an upload")
        shutil.unpack_archive(archive, folder, **safely)
    except _UNREADABLE as error:
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
