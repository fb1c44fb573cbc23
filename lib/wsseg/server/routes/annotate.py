"""The annotation page and what it asks of the server, under ``/annotate/``."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, FastAPI, Header
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Scope

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import home
from wsseg.images.volume import read_scan
from wsseg.labels.space import BACKGROUND, UNKNOWN, LabelSpace
from wsseg.labels.store import Mark, Scribbles
from wsseg.methods.registry import METHODS, method_class
from wsseg.models.package import ModelPackage, publish, versions
from wsseg.server.app import WssegApp
from wsseg.server.compute import devices
from wsseg.server.routes.replies import naming
from wsseg.server.routes.viewers import annotator, scans_in_memory
from wsseg.server.studies.labels import states_json
from wsseg.server.studies.sprites import Sprite

PAGE = Path(__file__).parents[1] / "page"

KEPT = 64
"""Pictures of masks in memory."""

ALL_LABELLED = "every scan is labelled"

router = APIRouter(prefix="/annotate/api", tags=["Annotate"])

_user = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
_annotator = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
_admin = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Mark(_Body):
    slice: int
    state: Annotated[int, Field(ge=0, le=1)] | None


class _Marks(_Body):
    label: str
    marks: list[_Mark] = Field(max_length=100_000)
    annotator: str


class _Text(_Body):
    text: str
    annotator: str


class _Erase(_Body):
    slice: int
    annotator: str


class _Undo(_Body):
    revision: int
    annotator: str


class _Next(_Body):
    strategy: str
    model: str


class _Train(_Body):
    model: str


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


@router.get("/models", dependencies=[_user], summary="Models that scans can be labelled for")
def models() -> list[dict[str, Any]]:
    """Every model, trained or not."""
    return [
        {
            "name": package.name,
            "version": package.metadata.version,
            "method": package.recipe.method,
            "trained": package.trained,
            "trainable": package.recipe.method in METHODS,
            "reads_text": method_class(package.recipe.method).reads_text,
            "labels": [{"name": name, "color": list(look.color)} for name, look in package.recipe.labels.items()],
        }
        for package in _app().packages()
    ]


@router.get("/scans", dependencies=[_user], summary="Scans of the studies")
def scans(model: str) -> list[dict[str, Any]]:
    """Every scan, and how far it is labelled with the classes of a model."""
    labels = _app().weak_labels
    found = labels.store.summaries(_app().package(model).labels)
    rows = []
    for scan in labels.studies.names():
        row = {"id": scan, "slices": labels.studies.slices(scan), "labelled": 0, "scribbles": False, "text": False}
        row |= {"annotator": None, "time": None}
        if scan in found:
            row |= asdict(found[scan]) | {"time": found[scan].time.isoformat()}
        rows.append(row)
    return rows


@router.get("/scans/{scan}", dependencies=[_user], summary="One scan and its labels")
def scan(scan: str, model: str) -> dict[str, Any]:
    """All that is known of a scan; of one whose slices cannot be marked, nothing per slice."""
    labels = _app().weak_labels
    classes = _app().package(model).labels
    grid = labels.studies.grid(scan)
    sprite = Sprite.of(grid)
    revision = labels.store.revision()
    known = labels.read(scan, classes, revision)
    marked = sprite.grid.stored_axis == 2
    unknown = [None] * sprite.slices
    rows = zip(classes.names, known.presence, strict=True)
    return {
        "id": scan,
        "slices": sprite.slices,
        "spacing": list(grid.spacing),
        "presence": {name: states_json(row) if marked else unknown for name, row in rows},
        "scribbled": _scribbled(known.scribbles if marked else None, classes),
        "text": known.text or "",
        "revision": revision,
        "sprite": {"columns": sprite.columns, "width": sprite.width, "height": sprite.height},
    }


def _scribbled(drawn: Scribbles | None, labels: LabelSpace) -> dict[str, list[int]]:
    """Slices, along the third stored axis, with a stroke of each class and of background."""
    values = {**labels.values(), "background": BACKGROUND}
    if drawn is None:
        return {name: [] for name in values}
    return {name: (drawn == value).any(axis=(0, 1)).nonzero()[0].tolist() for name, value in values.items()}


@router.get("/scans/{scan}/sprite", dependencies=[_user], summary="All slices in one picture")
async def sprite(scan: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """A JPEG as :class:`Sprite` lays it out, that a browser asks for again only when the scan has changed."""
    path = await run_sync(_app().weak_labels.studies.path, scan)
    tag = _tag(path)
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    picture = await run_sync(_picture, scan, path, limiter=scans_in_memory)
    return Response(picture, media_type="image/jpeg", headers=headers)


def _picture(scan: str, path: Path) -> bytes:
    with naming(path, scan):
        volume = read_scan(path)
    return Sprite.of(volume).picture(volume)


def _tag(path: Path) -> str:
    """Another one whenever a file has changed."""
    stat = path.stat()
    return f'"{hashlib.sha256(f"{path} {stat.st_mtime_ns} {stat.st_size}".encode()).hexdigest()[:20]}"'


@router.put("/scans/{scan}/presence", summary="Say on which slices a class is present")
def mark(scan: str, model: str, given: _Marks, user: Annotated[User, _annotator]) -> dict[str, int]:
    """Keep what an annotator marked."""
    marks = [Mark(given.label, m.slice, UNKNOWN if m.state is None else m.state) for m in given.marks]
    app = _app()
    return {"revision": app.weak_labels.mark(scan, marks, app.package(model), annotator(given.annotator, user))}


@router.put("/scans/{scan}/text", summary="Give a sentence of the report")
def describe(scan: str, given: _Text, user: Annotated[User, _annotator]) -> dict[str, int]:
    """Keep what an annotator wrote; an empty text takes back what was written before."""
    return {"revision": _app().weak_labels.describe(scan, given.text, annotator(given.annotator, user))}


@router.post("/scans/{scan}/erase", summary="Erase scribbles")
def erase(scan: str, model: str, given: _Erase, user: Annotated[User, _annotator]) -> dict[str, int]:
    """Take away all scribbles on one slice, along the third stored axis."""
    app = _app()
    labels = app.package(model).labels
    return {"revision": app.weak_labels.erase(scan, given.slice, labels, annotator(given.annotator, user))}


@router.post("/undo", summary="Undo a write")
def undo(given: _Undo, user: Annotated[User, _annotator]) -> dict[str, Any]:
    """Bring back what was known before; ``scan`` is null where the write was about several."""
    revision, touched = _app().weak_labels.undo(given.revision, annotator(given.annotator, user))
    return {"revision": revision, "scan": touched[0] if len(touched) == 1 else None}


@router.post("/scans/{scan}/prediction", dependencies=[_user], summary="What a model says of a scan")
async def predict(scan: str, model: str) -> dict[str, Any]:
    """Segment a scan, and keep the mask for :func:`overlay`."""
    return await run_sync(_predict, scan, _app().package(model), limiter=scans_in_memory)


def _predict(scan: str, package: ModelPackage) -> dict[str, Any]:
    if not package.trained:
        raise WssegError(f"{package.name} is not trained yet, label some scans and train it")
    app = _app()
    path = app.weak_labels.studies.path(scan)
    with naming(path, scan):
        volume = read_scan(path)
    text = app.weak_labels.told(package, scan)
    version, result = app.compute.segment_versioned(package.name, devices()[0], volume, None, text)
    layout = Sprite.of(volume)
    if result.grid.stored_axis != layout.grid.stored_axis:
        raise WssegError(f"{scan}: {package.name} cuts it into other slices than are shown here")
    said = result.facts()
    colors = [look.color for look in package.recipe.labels.values()]
    _masks.put(scan, package.name, version, layout.overlay(result.mask, colors))
    return {"version": version, **{key: said[key] for key in ("presence", "confidence")}}


@router.get("/scans/{scan}/overlay", dependencies=[_user], summary="The mask of a prediction")
def overlay(scan: str, model: str, version: str) -> Response:
    """A PNG with the tiles of :func:`sprite`, transparent where nothing is marked."""
    picture = _masks.get(scan, model, version)
    return Response(picture, media_type="image/png", headers={"cache-control": "private, no-cache"})


@router.get("/strategies", dependencies=[_user], summary="Ways to choose the next scan")
def strategies() -> list[dict[str, str]]:
    """The recommended one first."""
    offered = _app().info()["strategies"]
    return [{"name": name, "description": info["description"]} for name, info in offered.items()]


@router.post("/next", dependencies=[_user], summary="The scan to label next")
def choose(given: _Next) -> dict[str, Any]:
    """Choose for a model, and say why."""
    app = _app()
    app.package(given.model)
    chosen = app.next_sample({"strategy": given.strategy, "model": given.model})
    if not chosen:
        return {"id": None, "why": ALL_LABELLED}
    return {"id": chosen["id"], "why": chosen.get("why", "")}


@router.get("/train", dependencies=[_user], summary="How far training is")
def training() -> dict[str, Any]:
    """The status of the one job."""
    return _app().jobs.status()


@router.post("/train", dependencies=[_admin], summary="Train a model on the labels there are")
def train(given: _Train) -> dict[str, Any]:
    """Start a job."""
    _app().package(given.model)
    return _app().jobs.start(given.model, {})


@router.delete("/train", dependencies=[_admin], summary="Stop training")
def cancel() -> dict[str, Any]:
    """End the job; the model is as it was."""
    return _app().jobs.cancel()


@router.get("/models/{model}/versions", dependencies=[_user], summary="Versions of a model")
def history(model: str) -> list[dict[str, Any]]:
    """The newest first."""
    _app().package(model)
    return [asdict(each) | {"time": each.time.isoformat() if each.time else None} for each in versions(model)]


@router.post("/models/{model}/versions/{version}/publish", dependencies=[_admin], summary="Use another version")
def roll_back(model: str, version: str) -> list[dict[str, Any]]:
    """Make a version the one that is used from the next scan on."""
    app = _app()
    app.package(model)
    models = home() / "models"
    with naming(models / model, model):
        publish(models, model, version)
    app.renew_models()
    return history(model)


class _Page(StaticFiles):
    """The page's files, asked for again after an update of the server."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        reply = await super().get_response(path, scope)
        reply.headers["cache-control"] = "no-cache"
        # The type of a script is the browser's reason to run it, and some systems have their own list of types.
        if path.endswith(".js"):
            reply.headers["content-type"] = "text/javascript; charset=utf-8"
        return reply


def serve_page(app: FastAPI) -> None:
    """Add the page to an application."""

    @app.get("/annotate", include_in_schema=False)
    def annotate() -> RedirectResponse:
        return RedirectResponse("/annotate/")

    app.mount("/annotate/", _Page(directory=PAGE, html=True), name="annotate")


def _app() -> WssegApp:
    return app_instance()
