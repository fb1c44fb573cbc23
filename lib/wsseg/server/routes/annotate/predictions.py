"""What a model says of a scan, laid over the page's thumbnails and slices."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from anyio.to_thread import run_sync
from fastapi import APIRouter
from fastapi.responses import Response
from numpy.typing import NDArray
from pydantic import Field

from wsseg.errors import NotFoundError, WssegError, naming
from wsseg.images.volume import Volume
from wsseg.models.package import ModelPackage
from wsseg.server.app import WssegApp
from wsseg.server.compute import devices
from wsseg.server.pictures.planes import Planes
from wsseg.server.pictures.sprites import Sprite
from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Body, Content
from wsseg.server.routes.annotate.drawings import GivenDrawing
from wsseg.server.routes.dependencies import USER, App, scans_in_memory
from wsseg.server.studies.voxels import state

KEPT = 64
"""Masks in memory, packed."""

router = APIRouter(prefix=f"{API}/scans/{{scan}}", dependencies=[USER])


@dataclass(frozen=True)
class _Packed:
    """A mask in little memory."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    packed: bytes

    @classmethod
    def of(cls, mask: Volume) -> _Packed:
        return cls(mask.shape, mask.affine, zlib.compress(mask.voxels.astype(np.uint8).tobytes(), 1))

    def mask(self) -> Volume:
        return Volume(np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.shape), self.affine)


class _Masks:
    """The masks that the page was told of; the oldest are forgotten."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str, str], _Packed] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, scan: str, model: str, version: str, mask: Volume) -> None:
        packed = _Packed.of(mask)
        with self._lock:
            self._held[scan, model, version] = packed
            self._held.move_to_end((scan, model, version))
            if len(self._held) > KEPT:
                self._held.popitem(last=False)

    def get(self, scan: str, model: str, version: str) -> Volume:
        with self._lock:
            if (scan, model, version) not in self._held:
                raise NotFoundError(f"{scan}: there is no prediction of {model} {version}, ask for one first")
            found = self._held[scan, model, version]
        return found.mask()


_masks = _Masks()


class _Prompted(Body):
    """Drawings for once, beside those that are kept; ``force`` is that of :class:`InferRequest`."""

    drawings: list[GivenDrawing] = Field(default=[], max_length=10_000)
    force: bool = False


@router.post("/prediction", summary="What a model says of a scan")
async def predict(
    app: App, scan: str, model: str, given: _Prompted | None = None, content: Content = ""
) -> dict[str, Any]:
    """Segment a scan, respecting all that is drawn on it, and keep the mask for :func:`overlay` and :func:`mask`."""
    return await run_sync(
        _predict, app, scan, app.package(model), given or _Prompted(), content, limiter=scans_in_memory
    )


def _predict(app: WssegApp, scan: str, package: ModelPackage, given: _Prompted, content: str) -> dict[str, Any]:
    if not package.trained:
        raise WssegError(f"{package.name} is not trained yet, label some scans and train it")
    studies = app.weak_labels.studies
    path = studies.path(scan)
    if not given.force:
        studies.check_made(scan, package)
    text = app.weak_labels.text_for(package, scan)
    axis = app.weak_labels.identity(scan, package.recipe.axis, content).axis
    drawn = app.weak_labels.drawn(scan, package, [each.drawing(package, axis) for each in given.drawings])
    marked = app.weak_labels.read(scan, package).presence
    with naming(path, scan):
        version, result = app.compute.respect(
            package.name, devices()[0], state(path), lambda: studies.voxels.read(path), drawn, text, marked=marked
        )
    said = result.facts()
    _masks.put(scan, package.name, version, result.mask)
    shown = ("presence", "predicted_dice", "look_at", "fits", "negative", "unmarked")
    return {"version": version, **{key: said[key] for key in shown}}


@router.get("/overlay", summary="The mask of a prediction")
def overlay(app: App, scan: str, model: str, version: str) -> Response:
    """A PNG with the tiles of the scan's sprite, transparent where nothing is marked."""
    recipe, mask = app.package(model).recipe, _masks.get(scan, model, version)
    picture = Sprite.of(mask, recipe.axis).overlay(mask, [look.color for look in recipe.labels.values()])
    return Response(picture, media_type="image/png", headers={"cache-control": "private, no-cache"})


@router.get("/mask", summary="The mask of a prediction as numbers")
def mask(app: App, scan: str, model: str, version: str) -> Response:
    """Class values, a byte for each pixel of all slices, in the order of the route ``planes``."""
    found = _masks.get(scan, model, version)
    values = Planes.of(found, app.package(model).recipe.axis).cut(found.voxels).tobytes()
    headers = {"content-encoding": "gzip", "cache-control": "no-store"}
    return Response(gzip.compress(values, 1), media_type="application/octet-stream", headers=headers)
