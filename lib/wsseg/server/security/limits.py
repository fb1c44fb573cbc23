"""How large a request may be, counted while it arrives."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wsseg.server.routes.replies import sentence
from wsseg.server.security.access import OPEN

TEXT = 16 << 20
"""Bytes of anything but an upload, which is held in memory; 100,000 marks on slices take 3 MB."""

LOGIN = 64 << 10
"""Bytes of a request that nobody vouches for yet."""

PATIENCE = 2
"""How many times the limit is thrown away of a request that is too large, before its sender is cut off."""

_CUT_OFF = {"connection": "close"}
"""Else the server would go on reading what was not thrown away."""


class SizeLimit:
    """ASGI middleware that answers 413 to a request that is too large, of which no more than the limit is kept."""

    def __init__(self, app: ASGIApp, max_upload_mb: int) -> None:
        self.app = app
        self.max_upload = max_upload_mb << 20

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body cannot grow beyond the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = self._limit(scope["path"], headers.get("content-type", ""))
        # A GET has no body: 3D Slicer's client repeats the length of an earlier request in its headers.
        if scope["method"] not in ("GET", "HEAD", "DELETE") and int(headers.get("content-length", 0)) > limit:
            await _discard({"more_body": True}, receive, PATIENCE * limit)
            reply = sentence(413, _reason(limit))
            reply.headers.update(_CUT_OFF)
            await reply(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limit:
                await _discard(message, receive, PATIENCE * limit)
                # Whatever parses the body drops the unnamed temporary file that it has begun.
                raise HTTPException(413, _reason(limit), _CUT_OFF)
            return message

        await self.app(scope, counted, send)

    def _limit(self, path: str, kind: str) -> int:
        if path in OPEN:
            return LOGIN
        return self.max_upload if kind.startswith("multipart/") else TEXT


async def _discard(message: Message, receive: Receive, patience: int) -> None:
    """Let the rest of a body arrive, if it ends: clients and proxies that are cut off while they send read no reply."""
    while message.get("more_body") and patience > 0:
        message = await receive()
        patience -= len(message.get("body", b""))


def _reason(limit: int) -> str:
    size = f"{limit >> 20} MB" if limit >> 20 else f"{limit >> 10} KB"
    return f"the request is larger than {size}, the most that this server takes here"
