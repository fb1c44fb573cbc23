"""The scans of the studies: how far they are labelled, and how they look."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header
from fastapi.responses import Response

from wsseg.errors import naming
from wsseg.images.scan import read_scan
from wsseg.labels.space import BACKGROUND, LabelSpace
from wsseg.labels.store import Scribbles
from wsseg.server.routes.annotate import API
from wsseg.server.routes.dependencies import USER, App, thumbnails
from wsseg.server.studies.labels import states_json
from wsseg.server.studies.sprites import Sprite

router = APIRouter(prefix=f"{API}/scans", dependencies=[USER])


@router.get("", summary="Scans of the studies")
def scans(app: App, model: str) -> list[dict[str, Any]]:
    """Every scan, and how far it is labelled with the classes of a model."""
    labels = app.weak_labels
    found = labels.store.summaries(app.package(model).labels)
    rows = []
    for scan in labels.studies.names():
        row = {"id": scan, "slices": labels.studies.slices(scan), "labelled": 0, "scribbles": False, "text": False}
        row |= {"annotator": None, "time": None}
        if scan in found:
            row |= asdict(found[scan]) | {"time": found[scan].time.isoformat()}
        rows.append(row)
    return rows


@router.get("/{scan}", summary="One scan and its labels")
def scan(app: App, scan: str, model: str) -> dict[str, Any]:
    """All that is known of a scan; of one whose slices cannot be marked, nothing per slice."""
    labels = app.weak_labels
    classes = app.package(model).labels
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


@router.get("/{scan}/sprite", summary="All slices in one picture")
async def sprite(app: App, scan: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    """A JPEG as :class:`Sprite` lays it out, that a browser asks for again only when the scan has changed."""
    path = await run_sync(app.weak_labels.studies.path, scan)
    tag = _tag(path)
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    picture = await run_sync(_picture, scan, path, limiter=thumbnails)
    return Response(picture, media_type="image/jpeg", headers=headers)


def _picture(scan: str, path: Path) -> bytes:
    with naming(path, scan):
        volume = read_scan(path)
    return Sprite.of(volume).picture(volume)


def _tag(path: Path) -> str:
    """Another one whenever a file has changed."""
    stat = path.stat()
    return f'"{hashlib.sha256(f"{path} {stat.st_mtime_ns} {stat.st_size}".encode()).hexdigest()[:20]}"'
