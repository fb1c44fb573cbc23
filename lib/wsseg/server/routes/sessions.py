"""Images that are uploaded to be segmented, not kept, under ``/session/``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Query, UploadFile
from fastapi.responses import Response
from monailabel.endpoints import session as peer

from wsseg.errors import NotFoundError, WssegError
from wsseg.server.app import WssegApp
from wsseg.server.routes.dependencies import USER, App
from wsseg.server.routes.forms import saved
from wsseg.server.sessions import WholeSessions
from wsseg.server.settings import ServerSettings
from wsseg.server.studies.unpack import unpack

LONGEST_SECONDS = 30 * 24 * 3600
"""That an image is kept."""

router = APIRouter(prefix="/session", tags=["Session"], dependencies=[USER])


@router.put("/", summary="Create a session with an image")
def create(
    app: App,
    files: Annotated[list[UploadFile], File()],
    uncompress: bool = False,
    expiry: Annotated[int, Query(ge=0, le=LONGEST_SECONDS)] = 0,
) -> dict[str, Any]:
    """Keep one file, a series of files, or with ``uncompress`` an archive of one, for ``expiry`` seconds."""
    sessions = _sessions(app)
    room = ServerSettings.from_environment().max_upload_mb << 20
    with tempfile.TemporaryDirectory(prefix="wsseg-") as folder:
        series = Path(folder) / "series"
        series.mkdir()
        for file in files:
            with saved(file) as path:
                if uncompress:
                    room -= unpack(path, series, room)
                else:
                    shutil.move(path, series / path.name)
        found = sorted(series.iterdir())
        if not found:
            raise WssegError("files: the archive is empty")
        image = found[0] if len(found) == 1 else series
        name, session = sessions.add(image, expiry)
    return {"session_id": name, "session_info": session.to_json()}


@router.get("/{session_id}", summary="Get a session", response_model=None)
def get(app: App, session_id: str, update_ts: bool = False, image: bool = False) -> Response | dict[str, Any]:
    """What is known of a session, or its image."""
    session = _sessions(app).get_session(session_id, update_ts=update_ts)
    if session and image and Path(session.image).is_dir():
        raise WssegError(f'session "{session_id}" holds several files, not one that could be sent')
    return peer.get_session(session_id, update_ts, image)


def _sessions(app: WssegApp) -> WholeSessions:
    sessions = app.sessions()
    if sessions is None:
        raise NotFoundError("this server keeps no sessions")
    return sessions
