"""The page itself, under ``/annotate/``, and all that its parts ask for."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from wsseg.server.routes.annotate import API, drawings, labels, models, next_scan, planes, predictions, scans, training
from wsseg.server.routes.dependencies import USER, App

PAGE = Path(__file__).parents[2] / "page"

PARTS = (models, scans, planes, labels, drawings, predictions, next_scan, training)


class Page(StaticFiles):
    """The files of a page, asked for again after an update of the server."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file with what browsers need to know of it."""
        reply = await super().get_response(path, scope)
        reply.headers["cache-control"] = "no-cache"
        # The type of a script is the browser's reason to run it, and some systems have their own list of types.
        if path.endswith(".js"):
            reply.headers["content-type"] = "text/javascript; charset=utf-8"
        return reply


def serve_page(app: FastAPI, with_logout: bool) -> None:
    """Add the page and its routes to an application.

    Args:
        app: that is served.
        with_logout: whether people log in, and so may log out.
    """
    for part in PARTS:
        app.include_router(part.router, tags=["Annotate"])

    @app.get(f"{API}/logout", tags=["Annotate"], summary="Whether people log out here", dependencies=[USER])
    def logout() -> bool:
        return with_logout

    @app.get(f"{API}/project", tags=["Annotate"], summary="What is labelled here", dependencies=[USER])
    def project(served: App) -> dict[str, str]:
        """The name of the folder or archive."""
        return {"name": served.weak_labels.store.project.name}

    @app.get("/", include_in_schema=False)
    @app.get("/annotate", include_in_schema=False)
    def annotate() -> RedirectResponse:
        return RedirectResponse("/annotate/")

    app.mount("/annotate/", Page(directory=PAGE, html=True), name="annotate")
