"""A guard in front of all routes: names hold no path, jobs are for tasks that exist, other web pages only read."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from monailabel.interfaces.utils.app import app_instance
from starlette.types import ASGIApp, Receive, Scope, Send

from wsseg.app.replies import sentence
from wsseg.app.request import is_plain

NAMES = {"image", "label", "id", "tag", "session_id"}
"""Query parameters that MONAI Label joins to folders as they come."""

JOBS = re.compile(r"/(batch/infer|train|scoring)/([^/]+)")
"""Paths for which MONAI Label starts a process that then finds no such task."""


class KnownNames:
    """ASGI middleware that answers 404 to names that cannot be right, and 403 to other sites."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that names something impossible; pass on all others."""
        if scope["type"] == "http" and _is_foreign(scope):
            await sentence(403, "another web page may not change anything here")(scope, receive, send)
            return
        reason = _refusal(scope) if scope["type"] == "http" else None
        if reason is None:
            await self.app(scope, receive, send)
        else:
            await sentence(404, reason)(scope, receive, send)


def _is_foreign(scope: Scope) -> bool:
    """Whether a browser says that a page of another site asks for a change; forms need nobody's leave to try."""
    site = dict(scope["headers"]).get(b"sec-fetch-site", b"")
    return scope["method"] not in ("GET", "HEAD", "OPTIONS") and site == b"cross-site"


def _refusal(scope: Scope) -> str | None:
    # Decoded once already; an archive that is asked in turn would decode it again.
    if any(part and not is_plain(unquote(part)) for part in scope["path"].split("/")):
        return "there is no such path"
    for key, value in parse_qsl(scope["query_string"].decode("latin-1")):
        if key in NAMES and not is_plain(value):
            return f'{key} "{value}" is unknown, a name holds no path'
    job = JOBS.fullmatch(scope["path"]) if scope["method"] == "POST" else None
    if job and job[2] not in app_instance().tasks(job[1]):
        return f'{job[1]}: there is no "{job[2]}"'
    return None
