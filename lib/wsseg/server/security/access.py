"""Who may use the server: whoever knows its token, by header or, after the login page, by cookie.

3D Slicer asks for a user and a password, which is the token; who labels is its
own setting, so that any user's name will do.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import re
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.security import OAuth2PasswordRequestForm
from monailabel.endpoints.user.auth import DEFAULT_USER
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from wsseg.server.routes.replies import sentence

COOKIE = "wsseg"
SHIFT_SECONDS = 12 * 3600
"""How long a browser stays logged in."""

OPEN = ("/login", "/auth/", "/auth/token")
"""Paths that need no token, since one is given there."""

PAGE = Path(__file__).parents[1] / "page" / "login.html"
HOME = "/annotate/"

_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
_CHALLENGE = {"www-authenticate": "Bearer"}


class Access:
    """Tells requests that know the token from others.

    Args:
        token: what clients must know.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def knows(self, given: str) -> bool:
        """Whether this is the token, in a time that tells nothing of it."""
        return hmac.compare_digest(given.encode(), self._token)

    def cookie(self) -> str:
        """What a browser keeps instead of the token: when it ends, and a proof that the server said so."""
        ends = str(int(time.time()) + SHIFT_SECONDS)
        return f"{ends}.{self._proof(ends)}"

    def _proof(self, ends: str) -> str:
        return hmac.new(self._token, f"cookie {ends}".encode(), hashlib.sha256).hexdigest()

    def _is_valid(self, cookie: str) -> bool:
        ends, _, proof = cookie.partition(".")
        right = hmac.compare_digest(proof.encode(), self._proof(ends).encode())
        return right and time.time() < int(ends)

    def allows(self, headers: Headers) -> bool:
        """Whether a request shows the token or a cookie made with it."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(given.strip()):
            return True
        # Python's own SimpleCookie knows none of them where one, of any server on the same host, is odd.
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return self._is_valid(cookie)


class TokenNeeded:
    """ASGI middleware in front of all routes: 401 without the token, the login page for a browser."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed."""
        if scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)  # no route speaks it
        elif scope["type"] == "lifespan" or scope["path"] in OPEN or self.access.allows(Headers(scope=scope)):
            await self.app(scope, receive, send)
        else:
            await _ask(scope)(scope, receive, send)


def _ask(scope: Scope) -> Response:
    """Only a browser that goes to a page is sent elsewhere; what its scripts ask for, they read themselves."""
    if scope["method"] in ("GET", "HEAD") and "text/html" in Headers(scope=scope).get("accept", ""):
        wanted = scope.get("raw_path", scope["path"].encode()) + b"?" + scope["query_string"]
        address = f"/login?next={quote(wanted.rstrip(b'?'), safe='')}"
        return RedirectResponse(address, 303, headers={"cache-control": "no-store"})
    reply = sentence(401, 'log in at /login, or send the server\'s token in a header "Authorization: Bearer TOKEN"')
    reply.headers.update(_CHALLENGE)
    return reply


def require_token(app: FastAPI, token: str) -> None:
    """Close all routes of an application to those who do not know a token, and add those to log in."""
    access = Access(token)
    app.include_router(_login(access))
    app.include_router(_auth(access))
    app.add_middleware(TokenNeeded, access=access)


def _login(access: Access) -> APIRouter:
    """The page for browsers."""
    router = APIRouter(prefix="/login", include_in_schema=False)

    @router.get("")
    def page(next: str = HOME) -> Response:
        return _page(next)

    @router.post("")
    def log_in(request: Request, token: Annotated[str, Form()] = "", next: Annotated[str, Form()] = HOME) -> Response:
        if not access.knows(token.strip()):
            return _page(next, "That is not this server's token.", 401)
        reply = RedirectResponse(_local(next), 303, headers=_HEADERS)
        secure = request.url.scheme == "https"
        reply.set_cookie(COOKIE, access.cookie(), SHIFT_SECONDS, secure=secure, httponly=True, samesite="strict")
        return reply

    return router


def _page(next: str, error: str = "", status: int = 200) -> Response:
    page = PAGE.read_text("utf-8").replace("{next}", html.escape(_local(next))).replace("{error}", error)
    return HTMLResponse(page, status, headers=_HEADERS)


def _local(address: str) -> str:
    """The address if a browser cannot take it for one of another server, else the annotation page's."""
    return address if re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", address) else HOME


def _auth(access: Access) -> APIRouter:
    """What 3D Slicer's client asks, as MONAI Label answers it where it has accounts."""
    router = APIRouter(prefix="/auth", tags=["Auth"])

    @router.get("/", summary="Whether a token is needed")
    def enabled() -> dict[str, Any]:
        return {"enabled": True, "client_id": "wsseg", "realm": ""}

    @router.post("/token", summary="Log in")
    def token(form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
        if not access.knows(form.password.strip()):
            raise HTTPException(401, "the password is not this server's token", _CHALLENGE)
        return {"access_token": form.password.strip(), "token_type": "bearer"}

    @router.get("/token/valid", summary="Whether the token is right")
    def valid() -> dict[str, Any]:
        return DEFAULT_USER.model_dump()  # nobody gets here without

    return router
