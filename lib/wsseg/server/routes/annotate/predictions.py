"""What a model says of a scan, laid over the page's thumbnails."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi.responses import Response

from wsseg.errors import NotFoundError, WssegError, naming
from wsseg.models.package import ModelPackage
from wsseg.server.app import WssegApp
from wsseg.server.compute import devices
from wsseg.server.pictures.sprites import Sprite
from wsseg.server.routes.annotate import API
from wsseg.server.routes.dependencies import USER, App, scans_in_memory, voxels

KEPT = 64
"""Pictures of masks in memory."""

router = APIRouter(prefix=f"{API}/scans/{{scan}}", dependencies=[USER])


class _Masks:
    """Pictures of the masks that the page was told of; the oldest are forgotten."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, scan: str, model: str, version: str, picture: bytes) -> None:
        with self._lock:
            self._held[scan, model, version] = picture
            if len(self._held) > KEPT:
                self._held.popitem(last=False)

    def get(self, scan: str, model: str, version: str) -> bytes:
        with self._lock:
            if (scan, model, version) not in self._held:
                raise NotFoundError(f"{scan}: there is no prediction of {model} {version}, ask for one first")
            return self._held[scan, model, version]


_masks = _Masks()


@router.post("/prediction", summary="What a model says of a scan")
async def predict(app: App, scan: str, model: str) -> dict[str, Any]:
    """Segment a scan, and keep the mask for :func:`overlay`."""
    return await run_sync(_predict, app, scan, app.package(model), limiter=scans_in_memory)


def _predict(app: WssegApp, scan: str, package: ModelPackage) -> dict[str, Any]:
    if not package.trained:
        raise WssegError(f"{package.name} is not trained yet, label some scans and train it")
    path = app.weak_labels.studies.path(scan)
    with naming(path, scan):
        volume = voxels.read(path)
    text = app.weak_labels.text_for(package, scan)
    version, result = app.compute.segment_versioned(package.name, devices()[0], volume, None, text)
    layout = Sprite.of(volume, package.recipe.axis)
    said = result.facts()
    colors = [look.color for look in package.recipe.labels.values()]
    _masks.put(scan, package.name, version, layout.overlay(result.mask, colors))
    return {"version": version, **{key: said[key] for key in ("presence", "confidence")}}


@router.get("/overlay", summary="The mask of a prediction")
def overlay(scan: str, model: str, version: str) -> Response:
    """A PNG with the tiles of the scan's sprite, transparent where nothing is marked."""
    picture = _masks.get(scan, model, version)
    return Response(picture, media_type="image/png", headers={"cache-control": "private, no-cache"})
