"""The scans of the studies: how far they are labelled, and how they look."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from anyio.to_thread import run_sync
from fastapi import APIRouter, Header
from fastapi.responses import Response

from wsseg.errors import naming
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.labels.values import Scribbles
from wsseg.server.pictures.sprites import SOFT_TISSUE, Sprite
from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.drawings import drawn_json
from wsseg.server.routes.dependencies import USER, App, thumbnails
from wsseg.server.studies.labels import states_json
from wsseg.server.studies.studies import Studies

router = APIRouter(prefix=f"{API}/scans", dependencies=[USER])


@router.get("", summary="Scans of the studies")
def scans(app: App, model: str) -> list[dict[str, Any]]:
    """Every scan, and how far it is labelled with the classes of a model."""
    labels, package = app.weak_labels, app.package(model)
    title, rows = labels.studies.datastore.title, []
    for scan, known in sorted(labels.labelled(package.labels).items(), key=lambda entry: (title(entry[0]), entry[0])):
        row = {"id": scan, "title": title(scan), **asdict(labels.studies.suitability(scan, package.recipe))}
        row |= {"replaced": known.replaced, "study": labels.studies.datastore.study(scan)}
        row |= {"labelled": 0, "scribbles": False, "drawings": 0, "text": False, "annotator": None, "time": None}
        if known.summary:
            row |= asdict(known.summary) | {"time": known.summary.time.isoformat()}
        rows.append(row)
    return rows


@router.get("/{scan}", summary="One scan and its labels")
def scan(app: App, scan: str, model: str) -> dict[str, Any]:
    """All that is known of a scan; slices count along ``slice_axis`` as stored.

    ``replaced`` says that labels are kept for another scan of this id, which
    was here before, and none for this one. ``content`` is what writes may send
    again, so that none lands on another scan that has this id by then.
    """
    labels, package = app.weak_labels, app.package(model)
    grid = labels.studies.grid(scan)
    sprite = Sprite.of(grid, package.recipe.axis)
    revision = labels.store.revision()
    identity = labels.identity(scan, package.recipe.axis)
    known = labels.store.read(identity, package.labels, revision)
    rows = zip(package.labels.names, known.presence, strict=True)
    return {
        "id": scan,
        "content": identity.content,
        "title": labels.studies.datastore.title(scan),
        "slices": sprite.slices,
        "spacing": list(grid.spacing),
        "slice_axis": identity.axis,
        "replaced": labels.replaced(identity),
        "presence": {name: states_json(row) for name, row in rows},
        "scribbled": _scribbled(known.scribbles, package.labels, identity.axis),
        "text": known.text or "",
        "drawings": drawn_json(known.drawings),
        "revision": revision,
        "sprite": {"columns": sprite.columns, "width": sprite.width, "height": sprite.height},
    }


def _scribbled(drawn: Scribbles | None, labels: LabelSpace, axis: int) -> dict[str, list[int]]:
    """Slices, along a stored axis, with a stroke of each class and of background."""
    values = {**labels.values(), "background": BACKGROUND}
    if drawn is None:
        return {name: [] for name in values}
    slices = np.moveaxis(drawn, axis, 2)
    return {name: (slices == value).any(axis=(0, 1)).nonzero()[0].tolist() for name, value in values.items()}


@router.get("/{scan}/sprite", summary="All slices in one picture")
async def sprite(app: App, scan: str, model: str = "", if_none_match: Annotated[str, Header()] = "") -> Response:
    """A JPEG as :class:`Sprite` lays it out, that a browser asks for again only when the scan has changed.

    ``model`` says along which axis a scan of equal spacing is cut, by default from foot to head.
    """
    studies = app.weak_labels.studies
    path = await run_sync(studies.path, scan)
    recipe = app.package(model).recipe if model else None
    axis, ends = (recipe.axis, SOFT_TISSUE if recipe.hounsfield else None) if recipe else (2, None)
    tag = _tag(path, axis, ends)
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    picture = await run_sync(_picture, studies, scan, axis, ends, limiter=thumbnails)
    return Response(picture, media_type="image/jpeg", headers=headers)


def _picture(studies: Studies, scan: str, axis: int, ends: tuple[float, float] | None) -> bytes:
    path = studies.path(scan)
    with naming(path, scan):
        volume = studies.voxels.read(path)
    return Sprite.of(volume, axis).picture(volume, ends)


def _tag(path: Path, axis: int, ends: tuple[float, float] | None) -> str:
    """Another one whenever a file has changed, or is cut or shown otherwise."""
    stat = path.stat()
    return f'"{hashlib.sha256(f"{path} {axis} {ends} {stat.st_mtime_ns} {stat.st_size}".encode()).hexdigest()[:20]}"'
