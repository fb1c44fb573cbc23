"""What whoever runs the server asks for: its log, its GPUs, and what must not be changed from outside."""

from __future__ import annotations

import shutil
import subprocess
from collections import deque
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import PlainTextResponse, Response

from wsseg.errors import NotFoundError, UnavailableError
from wsseg.server.routes.dependencies import ADMIN, App

GPU_SECONDS = 20.0
"""For nvidia-smi, which waits without end for a driver that is stuck."""

LINES = 10_000
"""Of the log, at most."""

router = APIRouter(tags=["Others"], dependencies=[ADMIN])


@router.put("/model/{model}", include_in_schema=False)
@router.delete("/model/{model}", include_in_schema=False)
def change_model(app: App, model: str) -> None:
    """Refuse to change weights in place, which would change what a version means."""
    app.package(model)
    reason = "versions of a model are never changed: train it for a new one, or roll back to an older one"
    raise HTTPException(405, f"{model}: {reason}", {"allow": "GET"})


@router.get("/logs/", summary="The last lines of the log")
def log(app: App, lines: Annotated[int, Query(ge=0, le=LINES)] = 300) -> PlainTextResponse:
    """As text, with 0 all that may be asked for; MONAI Label's page for it runs scripts of public networks."""
    file = Path(app.app_dir) / "logs" / "app.log"
    if not file.is_file():
        raise NotFoundError("this server keeps no log in a file")
    with file.open(encoding="utf-8", errors="replace") as opened:
        return PlainTextResponse("".join(deque(opened, lines or LINES)))


@router.get("/logs/gpu", summary="What nvidia-smi says")
def gpus() -> Response:
    """Memory and work of the GPUs."""
    if shutil.which("nvidia-smi") is None:
        raise NotFoundError("this server has no nvidia-smi, so no GPU that it could ask")
    try:
        found = subprocess.run(["nvidia-smi"], capture_output=True, check=False, timeout=GPU_SECONDS).stdout
    except subprocess.TimeoutExpired as error:
        raise UnavailableError("nvidia-smi does not answer, a GPU or its driver may be stuck") from error
    return Response(found, media_type="text/plain")


@router.post("/reload", include_in_schema=False)
def reload(app: App) -> dict[str, Any]:
    """Look for new models and scans; MONAI Label's own forgets the application, with the training it watches."""
    app.renew_models()
    app.datastore().refresh()
    return {}
