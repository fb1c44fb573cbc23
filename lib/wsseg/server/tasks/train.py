"""Training as MONAI Label's clients know it: the train task, and the routes under /train/."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, HTTPException
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.interfaces.utils.app import app_instance

from wsseg.errors import NotFoundError, WssegError
from wsseg.models.package import ModelPackage, find_package
from wsseg.server.jobs.job_folder import STEPS, JobFolder
from wsseg.server.jobs.jobs import BusyError, Jobs, chain

_STATES = {"done": "DONE", "failed": "ERROR", "cancelled": "STOPPED"}

router = APIRouter(prefix="/train", tags=["Train"])

_user = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
_admin = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))

_Params = Annotated[dict[str, Any] | None, Body()]


class TrainingTask(TrainTask):
    """One model, as viewers offer it for training.

    Args:
        package: trained or not.
        jobs: of the server.
    """

    def __init__(self, package: ModelPackage, jobs: Jobs) -> None:
        super().__init__(package.metadata.description)
        self._name = package.name
        self._jobs = jobs

    def config(self) -> dict[str, Any]:
        """The rows of Slicer's table of options."""
        package = find_package(self._name)
        steps = {"steps": STEPS} if package.trained else {}
        try:
            several = len(chain(package)) > 1
        except WssegError:  # of a parent, which whoever trains is told
            several = True
        return {**steps, "parents": True} if several else steps

    def stats(self) -> dict[str, Any]:
        """What viewers draw their bar from; empty where the last job was not of this model.

        ``total_time`` is there only when training has ended, ``best_metric`` (in
        [0, 1], higher is better) only when there was a score.
        """
        status = self._jobs.status()
        if status["model"] != self._name:
            return {}
        # Slicer divides by the total, which is not known at first.
        stats = {"epoch": status["step"], "total_epochs": max(status["total"], 1), "stage": status["stage"]}
        if status["scores"]:
            stats["best_metric"] = max(score for _, score in status["scores"])
        if status["state"] in _STATES:
            stats["total_time"] = str(timedelta(seconds=int(status["seconds"])))
        return stats

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train and wait for the end.

        Raises:
            WssegError: it cannot be started, or failed.
        """
        self._jobs.start(self._name, request)
        status = self._jobs.wait()
        if status["state"] == "failed":
            raise WssegError(status["message"])
        return status


@router.get("/", dependencies=[_user], summary="Get status of training")
def status(all: bool = False, check_if_running: bool = False) -> Any:
    """The job that runs or was the last; 404 if there is none, or with ``check_if_running`` if none runs."""
    jobs = _jobs()
    if check_if_running and not jobs.running():
        raise NotFoundError("no model is being trained")
    found = jobs.all()
    if not found:
        raise NotFoundError("no model was trained yet")
    return [_task(job) for job in found] if all else _task(found[-1])


@router.post("/{model}", dependencies=[_admin], summary="Train a model")
def train(model: str, params: _Params = None, run_sync: bool = False, enqueue: bool = False) -> dict[str, Any]:
    """Train one model on the labels as they are now; ``run_sync`` waits for the end.

    One model is trained at a time: 429 while one is, with ``enqueue`` too.
    """
    trainers = app_instance().tasks("train")
    if model not in trainers:
        raise NotFoundError(f'model "{model}" is unknown, trainable are: {", ".join(trainers) or "none"}')
    jobs = _jobs()
    try:
        jobs.start(model, params or {})
    except BusyError as error:
        raise HTTPException(429, str(error)) from error
    if run_sync:
        jobs.wait()
    return _task(jobs.all()[-1])


@router.post("/", dependencies=[_admin], deprecated=True, summary="Train the first model")
def train_first(params: _Params = None, run_sync: bool = False) -> dict[str, Any]:
    """What OHIF asks for. MONAI Label would train every model; this trains the first one, which viewers show."""
    first = next(iter(app_instance().tasks("train")), "")
    own = (params or {}).get(first) or {}
    if not isinstance(own, dict):
        raise WssegError(f"{first}: must be a JSON object, not {str(own)[:40]!r}")
    return {first: {"result": train(first, own, run_sync), "detail": None}}


@router.delete("/", dependencies=[_admin], summary="Stop training")
def stop() -> dict[str, Any] | None:
    """End the job and leave the model as it was; null if none runs."""
    jobs = _jobs()
    if not jobs.running():
        return None
    jobs.cancel()
    return _task(jobs.all()[-1])


def _jobs() -> Jobs:
    return app_instance().jobs


def _task(job: JobFolder) -> dict[str, Any]:
    """A job in the words of MONAI Label."""
    plan, status = job.plan(), job.status()
    task = {
        "id": job.id,
        "status": _STATES.get(status.state, "RUNNING"),
        "request": {"model": status.model, "steps": plan.steps if plan else None, "parts": status.parts},
        "start_ts": _time(job.started),
        "details": [status.message],  # Slicer takes the last one, whether it needs it or not
    }
    if status.ended:
        task |= {"end_ts": _time(job.told), "result": status.message}
    return task


def _time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
