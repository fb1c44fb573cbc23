"""Segmentation of one scan, under ``/infer/``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import JSONResponse, Response

from wsseg.errors import NotFoundError, WssegError
from wsseg.images.scan import SEG
from wsseg.server.app import WssegApp
from wsseg.server.routes import replies
from wsseg.server.routes.dependencies import USER, App, AsUser, annotator, scans_in_memory
from wsseg.server.routes.forms import json_object, saved
from wsseg.server.tasks.request import InferRequest

Output = Literal["image", "json", "all", "dicom_seg"]

router = APIRouter(prefix="/infer", tags=["Infer"])


@router.post("/{model}", summary="Segment an image")
async def infer(
    app: App,
    model: str,
    user: AsUser,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: Output | None = None,
) -> Response:
    """Segment an image of the studies, an uploaded file, or a session's image; ``label`` holds scribbles."""
    given = json_object("params", params)
    given |= {"model": model, "annotator": annotator(given.get("client_id"), user)}
    if output == "dicom_seg":
        given["result_extension"] = SEG
    return await run_sync(_infer, app, given, image, session_id, file, label, output, limiter=scans_in_memory)


def _infer(
    app: WssegApp,
    given: dict[str, Any],
    image: str,
    session_id: str,
    file: UploadFile | None,
    label: UploadFile | None,
    output: Output | None,
) -> Response:
    app.task(given["model"])
    named = {"segment": given.get("label")}  # Slicer's points panel names the segment where others send a file
    with _image(app, image, session_id, file) as found, saved(label) if label else nullcontext("") as drawn:
        reply = app.segment(InferRequest.parse({**given, **named, "image": found, "label": str(drawn)}))
    try:
        if output == "json":
            return JSONResponse(reply.params)
        if output in ("image", "dicom_seg"):
            return replies.image(reply.file)
        return replies.both(reply.params, reply.file)
    finally:
        reply.file.unlink()


@contextmanager
def _image(app: WssegApp, image: str, session_id: str, file: UploadFile | None) -> Iterator[str]:
    """What is to be segmented: an id of the studies, or the path of something uploaded."""
    if session_id:
        session = app.sessions().get_session(session_id) if app.sessions() else None
        if session is None:
            raise NotFoundError(f'session "{session_id}" is unknown, it may have expired')
        yield session.image
    elif file:
        with saved(file) as path:
            yield str(path)
    elif not image:
        raise WssegError("infer: name an image or a session_id, or upload a file")
    elif app.image_path(image) is None:
        raise NotFoundError(f'image "{image}" is unknown')
    else:
        yield image


@router.post("/wsi/{model}", include_in_schema=False, dependencies=[USER])
@router.post("/wsi_v2/{model}", include_in_schema=False, dependencies=[USER])
def infer_slide(app: App, model: str) -> None:
    """Refuse slides of pathology, which MONAI Label segments region by region."""
    app.task(model)
    raise WssegError(f"{model}: segments scans, not regions of slides, ask for /infer/{model}")
