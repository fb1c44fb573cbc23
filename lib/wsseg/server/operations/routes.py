"""``/metrics`` for Prometheus, ``/health`` for load balancers."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from wsseg.server.defaults import HEALTH
from wsseg.server.operations.metrics import Standings, registry
from wsseg.server.routes.dependencies import ADMIN, App

router = APIRouter(tags=["Others"])


@router.get(HEALTH, summary="Whether this server can work")
def health(app: App) -> JSONResponse:
    """200; 503 while the database does not answer, since no label can be kept then."""
    app.weak_labels.store.revision()
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


@router.get("/metrics", summary="For Prometheus", dependencies=[ADMIN])
def metrics(app: App) -> Response:
    """In Prometheus's text format: what was counted since the start, and how things stand."""
    standing = CollectorRegistry()
    versions = {package.name: package.metadata.version for package in app.packages()}
    standing.register(Standings(versions, app.archives.standings))
    return Response(generate_latest(registry) + generate_latest(standing), media_type=CONTENT_TYPE_LATEST)
