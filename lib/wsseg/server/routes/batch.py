"""Batch inference as MONAI Label's clients ask for it, under ``/batch/infer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from monailabel.interfaces.datastore import Datastore

from wsseg.errors import NotFoundError, WssegError
from wsseg.server.compute import devices
from wsseg.server.routes.dependencies import ADMIN, USER, App
from wsseg.server.routes.forms import JsonObject
from wsseg.server.tasks.request import InferRequest, device_named

router = APIRouter(prefix="/batch/infer", tags=["Infer"])


@router.get("", dependencies=[USER], summary="Get status of batch inference")
def status(app: App, all: bool = False, check_if_running: bool = False) -> Any:
    """The batch that runs or was the last; 404 if there is none, or with ``check_if_running`` if none runs."""
    batch = app.batch
    if check_if_running and not batch.running():
        raise NotFoundError("no batch of scans is being segmented")
    if not batch.runs:
        raise NotFoundError("no scans were segmented in a batch yet")
    return [run.task() for run in batch.runs] if all else batch.runs[-1].task()


@router.post("/{model}", dependencies=[ADMIN], summary="Segment many scans")
def segment(
    app: App,
    model: str,
    images: Literal["all", "labeled", "unlabeled"] = "all",
    params: JsonObject | None = None,
    run_sync: bool = False,
) -> dict[str, Any]:
    """Segment the studies with one model and store the masks, by default as ``original``.

    ``params`` may hold ``label_tag``, ``max_batch_size`` (0 for all), ``device``,
    ``multi_gpu``, and what ``/infer`` takes. ``run_sync`` waits for the end and
    answers with what there is of each scan.
    """
    given = params or {}
    app.task(model)
    scans = sorted(_scans(app.datastore(), given.get("images", images)))
    limit = _limit(given.get("max_batch_size", 0))
    used = _devices(given)
    # What stands in option rows is of one scan, never of all; a "label" is what was uploaded with one.
    own = {"model": model, "image": "", "device": used[0], "label": "", "save_label": True, "save_as_label": False}
    request = InferRequest.parse({**given, **own})
    run = app.batch.start(request, scans[:limit] if limit else scans, used, run_sync)
    if run is None:
        raise HTTPException(429, "a batch of scans is being segmented, wait for its end or stop it first")
    if not run_sync:
        return run.task()
    app.batch.wait()
    return run.results


@router.delete("", dependencies=[ADMIN], summary="Stop batch inference")
def stop(app: App) -> dict[str, Any] | None:
    """End the batch after the scans that are being segmented; null if none runs."""
    batch = app.batch
    if not batch.running():
        return None
    batch.stop()
    batch.wait()
    return batch.runs[-1].task()


def _scans(store: Datastore, images: Any) -> Sequence[str]:
    listed = {
        "all": store.list_images,
        "labeled": store.get_labeled_images,
        "unlabeled": store.get_unlabeled_images,
    }
    if isinstance(images, str) and images in listed:
        return listed[images]()
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise WssegError(f"images: must be one of {', '.join(listed)}, or a list of ids, not {str(images)[:40]!r}")
    if unknown := sorted(set(images) - set(store.list_images())):
        raise NotFoundError(f'image "{unknown[0]}" is unknown')
    return images


def _limit(given: Any) -> int:
    if type(given) is not int or given < 0:
        raise WssegError(f"max_batch_size: must be a whole number from 0 (for all), not {str(given)[:40]!r}")
    return given


def _devices(given: Mapping[str, Any]) -> list[str]:
    """MONAI Label's clients ask for "cuda" and several GPUs, whether there is one or not."""
    asked = given.get("device") or "cuda"
    if asked != "cuda":
        return [device_named(asked)]
    gpus = devices()[:-1]
    return (gpus if given.get("multi_gpu", True) else gpus[:1]) or ["cpu"]
