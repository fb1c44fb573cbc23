"""The scan to label next."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from wsseg.server.routes.annotate import API
from wsseg.server.routes.annotate.bodies import Body, Name
from wsseg.server.routes.dependencies import USER, App

ALL_LABELLED = "every scan is labelled"

router = APIRouter(prefix=API, dependencies=[USER])


class _Next(Body):
    strategy: Name
    model: Name


@router.get("/strategies", summary="Ways to choose the next scan")
def strategies(app: App) -> list[dict[str, str]]:
    """The recommended one first."""
    offered = app.info()["strategies"]
    return [{"name": name, "description": info["description"]} for name, info in offered.items()]


@router.post("/next", summary="The scan to label next")
def choose(app: App, given: _Next) -> dict[str, Any]:
    """Choose for a model, and say why, and which ``slices`` are worth labelling where the model tells that."""
    app.package(given.model)
    chosen = app.next_sample({"strategy": given.strategy, "model": given.model})
    if not chosen:
        return {"id": None, "why": ALL_LABELLED, "slices": []}
    return {"id": chosen["id"], "why": chosen.get("why", ""), "slices": chosen.get("slices", [])}
