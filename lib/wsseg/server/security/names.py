"""A guard in front of all routes: names hold no path, jobs are for tasks that exist, other web pages stay out."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from monailabel.interfaces.utils.app import app_instance
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from wsseg.files import is_plain
from wsseg.server.routes.replies import sentence
from wsseg.server.settings import is_this_machine

LONGEST = 200
"""Bytes of a name: file systems take 255, and endings come to it."""

NAMES = {"image", "label", "id", "tag", "session_id", "model", "version"}
"""Query parameters that are joined to folders as they come, by MONAI Label too."""

JOBS = re.compile(r"/(batch/infer|train|scoring)/([^/]+)")
"""Paths for which MONAI Label starts a process that then finds no such task."""


class KnownNames:
    """ASGI middleware that answers 404 to names that cannot be right, and 403 to other sites.

    Args:
        app: that is guarded.
        local_only: answer 400 to requests for any host but this machine.
    """

    def __init__(self, app: ASGIApp, local_only: bool) -> None:
        self.app = app
        self.local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that names something impossible; pass on all others."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await sentence(*refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence; None for what may pass."""
        if self.local_only and not _is_local(scope):
            return 400, "without a token this server goes by localhost, 127.0.0.1 and [::1] only, ask for one of these"
        if _is_foreign(scope):
            return 403, "another web page may not change anything here"
        reason = _unknown(scope)
        return None if reason is None else (404, reason)


def _is_local(scope: Scope) -> bool:
    """Whether this machine is asked by a name that no other can take.

    The owner of any other name can let it mean 127.0.0.1 once a page of that
    name is open, which a browser then takes for a page of this server.
    """
    try:
        host = urlsplit(f"//{Headers(scope=scope).get('host', '')}").hostname
    except ValueError:
        return False
    return is_this_machine(host or "")


def _is_foreign(scope: Scope) -> bool:
    """Whether a browser says that a page of another origin asks for a change; forms need nobody's leave to try.

    Browsers say so in Sec-Fetch-Site where the server is reached by TLS or is
    this machine, and in Origin everywhere. Other programs send neither.
    """
    if scope["method"] in ("GET", "HEAD", "OPTIONS"):
        return False
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site", "").strip().lower()
    origin = headers.get("origin")
    if site in ("cross-site", "same-site"):
        return True
    return origin is not None and not _is_own(origin, headers.get("host", ""), with_port=not site)


def _is_own(origin: str, host: str, with_port: bool) -> bool:
    """Whether a page of an origin is one of this server.

    Args:
        origin: of the page; "null" where the browser keeps it to itself.
        host: that the browser asked.
        with_port: false where a proxy may have dropped the port and the browser says that it is the same.
    """
    try:
        page, server = urlsplit(origin), urlsplit(f"//{host}")
        usual = {"http": 80, "https": 443}.get(page.scheme)
        same_port = (page.port or usual) == (server.port or usual)
    except ValueError:
        return False
    return page.hostname is not None and page.hostname == server.hostname and (same_port or not with_port)


def _is_name(value: str) -> bool:
    return is_plain(value) and len(value.encode(errors="replace")) <= LONGEST


def _unknown(scope: Scope) -> str | None:
    # Decoded once already; an archive that is asked in turn would decode it again.
    if any(part and not _is_name(unquote(part)) for part in scope["path"].split("/")):
        return "there is no such path"
    for key, value in parse_qsl(scope["query_string"].decode("latin-1")):
        if key in NAMES and not _is_name(value):
            return f'{key} "{value[:LONGEST]}" is unknown, a name holds no path and at most {LONGEST} bytes'
    job = JOBS.fullmatch(scope["path"]) if scope["method"] == "POST" else None
    if job and job[2] not in app_instance().tasks(job[1]):
        return f'{job[1]}: there is no "{job[2]}"'
    return None
