"""What people draw on slices, as the page gives it, takes it back and shows that of others."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from wsseg.labels.drawn.drawing import Coordinate, Drawing, Drawn, Tool
from wsseg.models.package import ModelPackage
from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Body, Content, Name, Revision, SliceIndex
from wsseg.server.routes.dependencies import USER, App, AsAnnotator, annotator

router = APIRouter(prefix=f"{API}/scans/{{scan}}/drawings")

Id = Annotated[str, StringConstraints(pattern="^[0-9A-Za-z-]{8,64}$")]


class GivenDrawing(Body):
    """As :class:`Drawing`, along the axis that the model's slices run along and with its classes."""

    id: Id
    tool: Annotated[Tool, Field(strict=False)]
    label: Name
    slice: Annotated[SliceIndex, Field(ge=0)]
    points: list[Annotated[list[Coordinate], Field(min_length=2, max_length=2)]] = Field(
        min_length=1, max_length=20_000
    )
    radius_mm: Annotated[float, Field(ge=0, le=200, allow_inf_nan=False)] = 0.0

    def drawing(self, package: ModelPackage, axis: int) -> Drawing:
        """It, on slices along a stored axis."""
        points = tuple((first, second) for first, second in self.points)
        given = self.model_dump(exclude={"points"})
        return Drawing(**given, points=points, classes=package.labels.names, axis=axis)


class _Drawings(Body):
    drawings: list[GivenDrawing] = Field(default=[], max_length=10_000)
    removed: list[Id] = Field(default=[], max_length=10_000)
    annotator: Name


@router.post("", summary="Draw on slices")
def draw(app: App, scan: str, model: str, given: _Drawings, user: AsAnnotator, content: Content = "") -> dict[str, int]:
    """Keep what an annotator drew, and take away what was removed with it; one write, which is undone as one."""
    package = app.package(model)
    axis = app.weak_labels.identity(scan, package.recipe.axis, content).axis
    drawings = [each.drawing(package, axis) for each in given.drawings]
    who = annotator(given.annotator, user)
    return {"revision": app.weak_labels.draw(scan, drawings, given.removed, package, who, content)}


@router.get("", dependencies=[USER], summary="What is drawn on a scan")
def drawings(app: App, scan: str, model: str, since: Revision = 0, content: Content = "") -> dict[str, Any]:
    """All drawings, the oldest first, with who drew each and when; null where nobody wrote since a revision."""
    identity = app.weak_labels.identity(scan, app.package(model).recipe.axis, content)
    revision = app.weak_labels.store.revision()
    if since and revision == since:
        return {"revision": revision, "drawings": None}
    return {"revision": revision, "drawings": drawn_json(app.weak_labels.store.drawings.of(identity, revision))}


def drawn_json(drawings: list[Drawn] | tuple[Drawn, ...]) -> list[dict[str, Any]]:
    """Drawings as the page reads them."""
    return [
        each.drawing.model_dump(mode="json", exclude={"axis", "classes"})
        | {"annotator": each.annotator, "time": each.time.isoformat(), "revision": each.revision}
        for each in drawings
    ]
