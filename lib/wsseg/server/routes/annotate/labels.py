"""Labels as the page gives and takes them back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from wsseg.labels.space import UNKNOWN
from wsseg.labels.values import Mark
from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Body, Content, Name, Revision, Sentence, SliceIndex
from wsseg.server.routes.dependencies import App, AsAnnotator, annotator

router = APIRouter(prefix=API)


class _Mark(Body):
    slice: SliceIndex
    state: Annotated[int, Field(ge=0, le=1)] | None


class _Marks(Body):
    label: Name
    marks: list[_Mark] = Field(max_length=100_000)
    annotator: Name


class _Text(Body):
    text: Sentence
    annotator: Name


class _Erase(Body):
    slice: SliceIndex
    annotator: Name


class _Undo(Body):
    revision: Revision
    annotator: Name


@router.put("/scans/{scan}/presence", summary="Say on which slices a class is present")
def mark(app: App, scan: str, model: str, given: _Marks, user: AsAnnotator, content: Content = "") -> dict[str, int]:
    """Keep what an annotator marked."""
    marks = [Mark(given.label, m.slice, UNKNOWN if m.state is None else m.state) for m in given.marks]
    who = annotator(given.annotator, user)
    return {"revision": app.weak_labels.mark(scan, marks, app.package(model), who, content)}


@router.put("/scans/{scan}/text", summary="Give a sentence of the report")
def describe(app: App, scan: str, given: _Text, user: AsAnnotator, content: Content = "") -> dict[str, int]:
    """Keep what an annotator wrote; an empty text takes back what was written before."""
    return {"revision": app.weak_labels.describe(scan, given.text, annotator(given.annotator, user), content)}


@router.post("/scans/{scan}/erase", summary="Erase what is drawn")
def erase(app: App, scan: str, model: str, given: _Erase, user: AsAnnotator, content: Content = "") -> dict[str, int]:
    """Take away all that is drawn on one slice, as the model sees it."""
    who = annotator(given.annotator, user)
    return {"revision": app.weak_labels.erase(scan, given.slice, app.package(model), who, content)}


@router.post("/undo", summary="Undo a write")
def undo(app: App, given: _Undo, user: AsAnnotator, content: Content = "") -> dict[str, Any]:
    """Bring back what was known before; ``scan`` is null where the write was about several."""
    revision, touched = app.weak_labels.undo(given.revision, annotator(given.annotator, user), content)
    return {"revision": revision, "scan": touched[0] if len(touched) == 1 else None}
