"""What browsers are told of every page: who may frame it, and from where it may load."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_EVERYWHERE = "frame-ancestors 'none'; object-src 'none'; base-uri 'none'; form-action 'self'"

STRICT = (
    f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    f"{_EVERYWHERE}"
)
"""For our own pages and everything that is none."""

OHIF = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    f"manifest-src 'self'; media-src 'self' blob:; {_EVERYWHERE}"
)
"""For OHIF, whose page has scripts in itself, compiles WebAssembly and starts workers. Its web fonts come from
elsewhere: they are not loaded, and it falls back to the system's."""

_OHIF = ("/ohif/", "/static/ohif/")

_ALWAYS = {
    "x-content-type-options": "nosniff",
    # Addresses hold names of scans. Without any referrer browsers keep the Origin of a form to themselves too.
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class PageHeaders:
    """ASGI middleware that adds them to every reply; a policy that a route has set itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the reply with its headers back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        policy = OHIF if scope["path"].startswith(_OHIF) else STRICT

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("content-security-policy", policy)
                headers.update(_ALWAYS)
            await send(message)

        await self.app(scope, receive, with_headers)
