"""Training as the page starts, shows and ends it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from wsseg.errors import NotFoundError
from wsseg.server.pictures.sprites import side_by_side
from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Body, Name
from wsseg.server.routes.dependencies import ADMIN, USER, App
from wsseg.training.glimpse import Glimpse
from wsseg.training.progress import TrainingProgress

router = APIRouter(prefix=f"{API}/train")


class _Train(Body):
    model: Name


@router.get("", dependencies=[USER], summary="How far training is")
def training(app: App) -> TrainingProgress:
    """Of the one job."""
    return app.jobs.progress()


@router.get("/held-back", dependencies=[USER], summary="Scans held back, with the mask that is learned")
def held_back(app: App) -> Response:
    """A PNG of one slice of each of two scans side by side, in the colours of the classes; 404 where there is none."""
    job = app.jobs.newest()
    progress = app.jobs.progress()
    seen = Glimpse.read(job.run(progress.part)) if job and progress.part else None
    if seen is None:
        raise NotFoundError("no scan that was held back was looked at yet")
    colors = [look.color for look in app.package(progress.part).recipe.labels.values()]
    return Response(side_by_side(seen.images, seen.masks, colors), media_type="image/png")


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
