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

WAY_BACK = """
const back = Object.assign(document.createElement("a"), { textContent: "Annotate \u2197", title: "Label this study" });
back.style = "position: fixed; right: 12px; bottom: 12px; z-index: 9; padding: 4px 10px; border-radius: 6px; "
  + "background: #090c29; color: #fff; font: 13px sans-serif;";
back.addEventListener("pointerenter", aim);
back.addEventListener("focus", aim);
function aim() {
  const study = new URLSearchParams(location.search).get("StudyInstanceUIDs");
  back.href = "/annotate/" + (study ? "#study=" + encodeURIComponent(study) : "");
}
addEventListener("DOMContentLoaded", () => { aim(); document.body.append(back); });
"""
"""A link to the annotation page, with the study that is open."""

router = APIRouter(prefix="/ohif", include_in_schema=False, dependencies=[USER])


@router.get("/app-config.js")
def config() -> Response:
    """MONAI Label's configuration of OHIF, where its server is, which is where the page came from, and a link back."""
    return Response(CONFIG.read_text("utf-8") + OWN_ADDRESS + WAY_BACK, media_type="text/javascript")


@router.get("/{path:path}")
def page(path: str) -> FileResponse:
    """A file of OHIF; the page itself for every other path."""
    return ohif.get_ohif(path)
