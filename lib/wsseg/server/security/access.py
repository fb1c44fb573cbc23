"""Who may use the server: whoever knows its token, by header or, after the login page, by cookie.

3D Slicer asks for a user and a password, which is the token; who labels is its
own setting, so that any user's name will do.
"""

from __future__ import annotations

import hmac
import html
import re
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

from wsseg.server.defaults import HEALTH
from wsseg.server.routes.replies import refusal, sentence
from wsseg.server.security.cookies import SHIFT_SECONDS, Cookies
from wsseg.server.security.guesses import Guesses, GuessingError

COOKIE = "wsseg"

OPEN = ("/login", "/logout", "/auth/", "/auth/token", HEALTH)
"""Paths that need no token: one is given or taken back there, or nothing is told."""

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
        self._guesses = Guesses()
        self.cookies = Cookies(token)

    def knows(self, given: str, client: str) -> bool:
        """Whether this is the token, in a time that tells nothing of it.

        Raises:
            GuessingError: that client has guessed too often.
        """
        given = given.strip()
        if not given:
            return False
        self._guesses.check(client)
        right = hmac.compare_digest(given.encode(), self._token)
        if not right:
            self._guesses.wrong(client)
        return right

    def allows(self, headers: Headers, client: str) -> bool:
        """Whether a request shows a cookie made with the token, or the token.

        Raises:
            GuessingError: see :meth:`knows`.
        """
        if self.cookies.is_valid(_cookie(headers)):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self.knows(given, client)


def _cookie(headers: Headers) -> str:
    # Python's own SimpleCookie knows none of them where one, of any server on the same host, is odd.
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


class TokenNeeded:
    """ASGI middleware in front of all routes: 401 without the token, the login page for a browser."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed."""
        if scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)  # no route speaks it
            return
        try:
            passes = scope["type"] == "lifespan" or scope["path"] in OPEN or self._knows(scope)
        except GuessingError as error:
            await refusal(error)(scope, receive, send)
            return
        await (self.app if passes else _ask(scope))(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        client = scope.get("client") or ("", 0)
        return self.access.allows(Headers(scope=scope), client[0])


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
    for router in (_login(access), _logout(access), _auth(access)):
        app.include_router(router)
    app.add_middleware(TokenNeeded, access=access)


def _login(access: Access) -> APIRouter:
    """The page for browsers."""
    router = APIRouter(prefix="/login", include_in_schema=False)

    @router.get("")
    def page(next: str = HOME) -> Response:
        return _page(next)

    @router.post("")
    def log_in(request: Request, token: Annotated[str, Form()] = "", next: Annotated[str, Form()] = HOME) -> Response:
        try:
            known = access.knows(token, _client(request))
        except GuessingError as error:
            return _page(next, f"{error}.", error.status)
        if not known:
            return _page(next, "That is not this server's token.", 401)
        reply = RedirectResponse(_local(next), 303, headers=_HEADERS)
        secure = request.url.scheme == "https"
        reply.set_cookie(COOKIE, access.cookies.make(), SHIFT_SECONDS, secure=secure, httponly=True, samesite="strict")
        return reply

    return router


def _logout(access: Access) -> APIRouter:
    """What the annotation page's button asks for."""
    router = APIRouter(prefix="/logout", include_in_schema=False)

    @router.post("")
    def log_out(request: Request) -> Response:
        access.cookies.end(_cookie(request.headers))
        # Pictures of scans that the browser has kept go too, where it listens: with TLS, and on this machine.
        reply = RedirectResponse("/login", 303, headers={**_HEADERS, "clear-site-data": '"cache"'})
        reply.delete_cookie(COOKIE, secure=request.url.scheme == "https", httponly=True, samesite="strict")
        return reply

    return router


def _client(request: Request) -> str:
    return request.client.host if request.client else ""


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
    def token(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, str]:
        if not access.knows(form.password, _client(request)):
            raise HTTPException(401, "the password is not this server's token", _CHALLENGE)
        return {"access_token": form.password.strip(), "token_type": "bearer"}

    @router.get("/token/valid", summary="Whether the token is right")
    def valid() -> dict[str, Any]:
        return DEFAULT_USER.model_dump()  # nobody gets here without

    return router
