"""The log without patient data: names of scans, which may be those of patients, stand in addresses and errors."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wsseg.server.operations import metrics

logger = logging.getLogger(__name__)


def nameless(error: BaseException, scan: str) -> str:
    """What went wrong with a scan, without its name, for a line of the log."""
    return str(error).replace(scan, "*")


class RequestLog:
    """ASGI middleware that logs method, the route's own path, status, milliseconds and client, and counts them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log when the reply is sent."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500  # what is answered where an error leaves the application

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            took, route = time.perf_counter() - began, _route(scope)
            client = scope["client"][0] if scope.get("client") else "-"
            metrics.requests.labels(metrics.method(scope["method"]), route, status).inc()
            metrics.request_seconds.labels(route).observe(took)
            logger.info("%s %s %d %.0f ms %s", scope["method"], route, status, 1000 * took, client)


def _route(scope: Scope) -> str:
    """As it was declared, "/infer/{model}", or the folder of a file; "-" where none was reached."""
    if "route" in scope:
        return str(scope["route"].path)
    return f"{scope['root_path']}/*" if scope["root_path"] else "-"
