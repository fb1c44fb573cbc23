"""What the server offers, under ``/info/``: viewers ask for it again and again."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from wsseg.server.routes.dependencies import USER, App

router = APIRouter(prefix="/info", tags=["App"], dependencies=[USER])


@router.get("/", summary="Models, trainers, strategies and studies")
def info(app: App) -> JSONResponse:
    """As :meth:`WssegApp.info`, which is ready for JSON: FastAPI would walk through all of it once more."""
    return JSONResponse(app.info())
