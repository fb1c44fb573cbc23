"""``/archive/``: what campaigns over archives have come to, as a page and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse

from wsseg.errors import NotFoundError
from wsseg.server.routes.annotate.page import Page
from wsseg.server.routes.dependencies import USER, App

PAGE = Path(__file__).parent / "page"

WORST = 24
"""Cases that are shown."""

router = APIRouter(prefix="/archive/api", tags=["Archive"], dependencies=[USER])


@router.get("/campaigns", summary="Campaigns over archives, the newest first")
def campaigns(app: App) -> list[dict[str, Any]]:
    """How far each is, and how many series it did within the last hour."""
    return [asdict(standing) for standing in app.archives.standings()]


@router.get("/campaigns/{campaign}", summary="What one campaign has found")
def campaign(app: App, campaign: int) -> dict[str, Any]:
    """Failures by reason, volumes by class, and the cases that the model is least sure of.

    ``served`` says whether the series are among this server's studies.
    """
    standing = next((each for each in app.archives.standings() if each.id == campaign), None)
    if standing is None:
        raise NotFoundError(f'campaign "{campaign}" is unknown')
    return {
        **asdict(standing),
        "served": app.weak_labels.store.project.id == standing.campaign.archive,
        "failures": [asdict(failure) for failure in app.archives.failures(campaign)],
        "volumes": [asdict(histogram) for histogram in app.archives.volumes(campaign)],
        "worst": [asdict(case) for case in app.archives.worst(campaign, WORST)],
    }


def serve_archive_page(app: FastAPI) -> None:
    """Add the page and what it asks for to an application."""
    app.include_router(router)

    @app.get("/archive", include_in_schema=False)
    def archive() -> RedirectResponse:
        return RedirectResponse("/archive/")

    app.mount("/archive/", Page(directory=PAGE, html=True), name="archive")
