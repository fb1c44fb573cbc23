"""Training as the page starts, shows and ends it."""

from __future__ import annotations

from fastapi import APIRouter

from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Body, Name
from wsseg.server.routes.dependencies import ADMIN, USER, App
from wsseg.training.progress import TrainingProgress

router = APIRouter(prefix=f"{API}/train")


class _Train(Body):
    model: Name


@router.get("", dependencies=[USER], summary="How far training is")
def training(app: App) -> TrainingProgress:
    """Of the one job."""
    return app.jobs.progress()


@router.post("", dependencies=[ADMIN], summary="Train a model on the labels there are")
def train(app: App, given: _Train) -> TrainingProgress:
    """Start a job."""
    app.package(given.model)
    return app.jobs.start(given.model, {})


@router.delete("", dependencies=[ADMIN], summary="Stop training")
def cancel(app: App) -> TrainingProgress:
    """End the job; the model is as it was."""
    return app.jobs.cancel()


@router.post("/finish", dependencies=[ADMIN], summary="Finish training now")
def finish(app: App) -> TrainingProgress:
    """End the job with the best weights so far; 409 within the first minute, when there are none."""
    return app.jobs.finish()
