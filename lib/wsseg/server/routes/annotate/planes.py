"""Single slices of a scan at their own resolution."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from fastapi.responses import Response
from numpy.typing import NDArray

from wsseg.errors import WssegError, naming
from wsseg.images.formats.nifti import NIFTI, read_nifti_planes
from wsseg.server.pictures.planes import MOST_AT_ONCE, Planes
from wsseg.server.pictures.sprites import Sprite
from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Content
from wsseg.server.routes.dependencies import USER, App, thumbnails
from wsseg.server.studies.voxels import Voxels

router = APIRouter(prefix=f"{API}/scans/{{scan}}", dependencies=[USER])


@router.get("/layout", summary="How a scan is cut into slices")
def layout(app: App, scan: str, model: str) -> dict[str, Any]:
    """All that a page needs to show a scan, of which nothing but the header is read for it."""
    labels, recipe = app.weak_labels, app.package(model).recipe
    grid = labels.studies.grid(scan)
    sprite, planes = Sprite.of(grid, recipe.axis), Planes.of(grid, recipe.axis)
    return {
        "id": scan,
        "title": labels.studies.datastore.title(scan),
        "slices": planes.slices,
        "slice_mm": grid.spacing[planes.grid.stored_axis],
        "right": asdict(planes.right),
        "down": asdict(planes.down),
        "head_first": planes.grid.reversed,
        "colour": grid.colour,
        "hounsfield": recipe.hounsfield,
        "sprite": {"columns": sprite.columns, "width": sprite.width, "height": sprite.height},
    }


@router.get("/planes", summary="Slices as numbers")
async def planes(
    app: App,
    scan: str,
    model: str,
    first: Annotated[int, Query(ge=0)],
    count: Annotated[int, Query(ge=1, le=MOST_AT_ONCE)] = 1,
    content: Content = "",
) -> Response:
    """Slices in stored order, hung, row by row: uint16, the low byte first; of a colour picture three uint8 a pixel.

    An intensity is the header ``x-slope`` times the number, plus ``x-intercept``.
    """
    studies, axis = app.weak_labels.studies, app.package(model).recipe.axis
    if content:
        await run_sync(app.weak_labels.identity, scan, axis, content)
    path = await run_sync(studies.path, scan)
    cut = Planes.of(await run_sync(studies.grid, scan), axis)
    if first >= cut.slices:
        raise WssegError(f"{scan}: has slices 0 to {cut.slices - 1}, slice {first} was asked for")
    with naming(path, scan):
        return await run_sync(_numbers, path, cut, first, count, studies.voxels, limiter=thumbnails)


def _numbers(path: Path, cut: Planes, first: int, count: int, held: Voxels) -> Response:
    early = _beginning(path, cut, count) if first == 0 and not held.holds(path) else None
    found = cut.numbers(held.read(path).voxels if early is None else early, first, count)
    headers = {"x-slope": repr(found.slope), "x-intercept": repr(found.intercept), "cache-control": "no-store"}
    little = found.codes.astype(found.codes.dtype.newbyteorder("<"), copy=False)
    return Response(little.tobytes(), media_type="application/octet-stream", headers=headers)


def _beginning(path: Path, cut: Planes, count: int) -> NDArray[Any] | None:
    """The first slices as stored, where a file's beginning is enough to show them; else None."""
    along_last = cut.grid.stored_axis == 2 and path.name.lower().endswith(NIFTI)
    return read_nifti_planes(path, count) if along_last else None
