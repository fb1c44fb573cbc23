"""What the server offers, under ``/info/``: viewers ask for it again and again."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from wsseg.server.routes.dependencies import USER, App

router = APIRouter(prefix="/info", tags=["App"], dependencies=[USER])


@router.get("/", summary="Models, trainers, strategies and studies")
def info(app: App) -> dict[str, Any]:
    """As :meth:`WssegApp.info`."""
    return app.info()
