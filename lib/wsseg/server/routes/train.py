"""Training as MONAI Label's clients ask for it, under ``/train/``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from wsseg.errors import NotFoundError, WssegError
from wsseg.server.jobs.jobs import BusyError
from wsseg.server.routes.dependencies import ADMIN, USER, App
from wsseg.server.routes.forms import JsonObject
from wsseg.server.viewers.monailabel import train_task

router = APIRouter(prefix="/train", tags=["Train"])


@router.get("/", dependencies=[USER], summary="Get status of training")
def status(app: App, all: bool = False, check_if_running: bool = False) -> Any:
    """The job that runs or was the last; 404 if there is none, or with ``check_if_running`` if none runs."""
    jobs = app.jobs
    if check_if_running and not jobs.running():
        raise NotFoundError("no model is being trained")
    found = jobs.all()
    if not found:
        raise NotFoundError("no model was trained yet")
    return [train_task(job) for job in found] if all else train_task(found[-1])


@router.post("/{model}", dependencies=[ADMIN], summary="Train a model")
def train(
    app: App, model: str, params: JsonObject | None = None, run_sync: bool = False, enqueue: bool = False
) -> dict[str, Any]:
    """Train one model on the labels as they are now; ``run_sync`` waits for the end.

    One model is trained at a time: 429 while one is, with ``enqueue`` too.
    """
    trainers = app.tasks("train")
    if model not in trainers:
        raise NotFoundError(f'model "{model}" is unknown, trainable are: {", ".join(trainers) or "none"}')
    jobs = app.jobs
    try:
        jobs.start(model, params or {})
    except BusyError as error:
        raise HTTPException(429, str(error)) from error
    if run_sync:
        jobs.wait()
    return train_task(jobs.all()[-1])


@router.post("/", dependencies=[ADMIN], deprecated=True, summary="Train the first model")
def train_first(app: App, params: JsonObject | None = None, run_sync: bool = False) -> dict[str, Any]:
    """What OHIF asks for. MONAI Label would train every model; this trains the first one, which viewers show."""
    first = next(iter(app.tasks("train")), "")
    own = (params or {}).get(first) or {}
    if not isinstance(own, dict):
        raise WssegError(f"{first}: must be a JSON object, not {str(own)[:40]!r}")
    return {first: {"result": train(app, first, own, run_sync), "detail": None}}


@router.delete("/", dependencies=[ADMIN], summary="Stop training")
def stop(app: App) -> dict[str, Any] | None:
    """End the job with the best weights so far, as MONAI Label's own does; null if none runs.

    Within the first minute there are none: the model is as it was. So it is too
    if this is asked for again before the job has ended.
    """
    jobs = app.jobs
    if not jobs.running():
        return None
    jobs.stop()
    return train_task(jobs.all()[-1])
