"""How large a request may be and how long it may take, looked at while it arrives."""

from __future__ import annotations

import asyncio
import re
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wsseg.server.routes.replies import sentence
from wsseg.server.security.access import OPEN

UPLOADS = re.compile(
    r"POST /infer/[^/]+|PUT /datastore/(image|label)?|PUT /session/|POST /proxy/dicom/stow/.*",
)
"""Method and path of the routes that files are sent to, which write them to disk as they come."""

TEXT = 4 << 20
"""Bytes of anything but an upload, which is held in memory; 100,000 marks on slices take 3 MB."""

LOGIN = 64 << 10
"""Bytes of a request that nobody vouches for yet."""

TIMES_OVER = 2
"""How many times the limit is thrown away of a request that is too large, before its sender is cut off."""

START_SECONDS = 60.0
"""For a body to begin, and to catch up with what is the least."""

SLOWEST = 4096
"""Bytes per second of a body, on average: a scan of 20 MB then takes an hour and a half."""

_CUT_OFF = {"connection": "close"}
"""Else the server would go on reading what was not thrown away."""


class SizeLimit:
    """ASGI middleware that answers 413 to a request that is too large, and 408 to one that is too slow.

    No more than the limit is kept of the first one.
    """

    def __init__(self, app: ASGIApp, max_upload_mb: int) -> None:
        self.app = app
        self.max_upload = max_upload_mb << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body cannot grow beyond the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(scope, headers.get("content-type", ""))
        body = _Body(receive, limit)
        # A GET has no body: 3D Slicer's client repeats the length of an earlier request in its headers.
        if scope["method"] not in ("GET", "HEAD", "DELETE") and int(headers.get("content-length", 0)) > limit:
            try:
                await body.discard()
            except HTTPException as error:
                reply = sentence(error.status_code, error.detail)
            else:
                reply = sentence(413, body.reason)
            reply.headers.update(_CUT_OFF)
            await reply(scope, receive, send)
            return
        await self.app(scope, body.next, send)

    def _limit(self, scope: Scope, kind: str) -> int:
        if scope["path"] in OPEN:
            return LOGIN
        upload = UPLOADS.fullmatch(f"{scope['method']} {scope['path']}") and kind.lower().startswith("multipart/")
        return self.max_upload if upload else TEXT


class _Body:
    """A request's body, piece by piece.

    Args:
        receive: the next piece.
        limit: bytes in all.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._arrived = 0
        self._began: float | None = None
        self._complete = False

    @property
    def reason(self) -> str:
        """Why it is not taken."""
        size = f"{self._limit >> 20} MB" if self._limit >> 20 else f"{self._limit >> 10} KB"
        return f"the request is larger than {size}, the most that this server takes here"

    async def next(self) -> Message:
        """The next piece, as ASGI asks for it.

        Raises:
            HTTPException: it is too large or too slow.
        """
        message = await self._piece()
        if self._arrived > self._limit:
            await self.discard()
            # Whatever parses the body drops the unnamed temporary file that it has begun.
            raise HTTPException(413, self.reason, _CUT_OFF)
        return message

    async def discard(self) -> None:
        """Let the rest arrive, if it ends: clients and proxies that are cut off while they send read no reply."""
        end = self._arrived + TIMES_OVER * self._limit
        while not self._complete and self._arrived < end:
            await self._piece()

    async def _piece(self) -> Message:
        if self._complete:  # what is waited for then is that the client leaves
            return await self._receive()
        now = time.monotonic()
        self._began = self._began or now
        left = self._began + START_SECONDS + self._arrived / SLOWEST - now
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.0))
        except TimeoutError:
            raise HTTPException(408, f"the request comes slower than {SLOWEST >> 10} KB a second", _CUT_OFF) from None
        self._arrived += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        return message
