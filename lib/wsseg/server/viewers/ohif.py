"""OHIF's page, which finds this server by itself."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from monailabel.endpoints import ohif

from wsseg.server.routes.dependencies import USER

CONFIG = Path(ohif.__file__).parent / "static" / "ohif" / "app-config.js"

OWN_ADDRESS = '\ndocument.cookie = "MONAILABEL_SERVER_URL=" + escape(location.origin + "/") + "; path=/ohif";\n'
"""The cookie that fills the server box of OHIF's panel, which else guesses http and port 8000; path as it writes it."""

router = APIRouter(prefix="/ohif", include_in_schema=False, dependencies=[USER])


@router.get("/app-config.js")
def config() -> Response:
    """MONAI Label's configuration of OHIF, and where its server is: where the page came from."""
    return Response(CONFIG.read_text("utf-8") + OWN_ADDRESS, media_type="text/javascript")


@router.get("/{path:path}")
def page(path: str) -> FileResponse:
    """A file of OHIF; the page itself for every other path."""
    return ohif.get_ohif(path)
