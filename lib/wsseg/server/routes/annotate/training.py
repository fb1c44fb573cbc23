"""Training as the page starts, shows and ends it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Body, Name
from wsseg.server.routes.dependencies import ADMIN, USER, App

router = APIRouter(prefix=f"{API}/train")


class _Train(Body):
    model: Name


@router.get("", dependencies=[USER], summary="How far training is")
def training(app: App) -> dict[str, Any]:
    """The status of the one job."""
    return app.jobs.status()


@router.post("", dependencies=[ADMIN], summary="Train a model on the labels there are")
def train(app: App, given: _Train) -> dict[str, Any]:
    """Start a job."""
    app.package(given.model)
    return app.jobs.start(given.model, {})


@router.delete("", dependencies=[ADMIN], summary="Stop training")
def cancel(app: App) -> dict[str, Any]:
    """End the job; the model is as it was."""
    return app.jobs.cancel()
