"""Our routes, which take the place of MONAI Label's own of the same paths.

Its endpoints are ``async def`` around blocking code, so a scan being segmented
stops every other request; these work in threads. They also refuse what its own
let through: unknown names, damaged uploads.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, File, Form, UploadFile
from fastapi.responses import JSONResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.utils.app import app_instance

from wsseg.app import proxy, replies, train
from wsseg.app.app import WssegApp
from wsseg.errors import NotFoundError, WssegError
from wsseg.scan import SEG
from wsseg.volume import case_name, read_scan

Output = Literal["image", "json", "all", "dicom_seg"]

FINAL = DefaultLabelTag.FINAL.value

router = APIRouter()
router.include_router(train.router)
router.include_router(proxy.router)

_user = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
_annotator = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
_admin = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))

# Scans in memory at a time. Requests beyond wait without a thread, so that
# however many there are, the server's other threads stay free.
scans_in_memory = CapacityLimiter(4)


@router.post("/infer/{model}", summary="Segment an image")
async def infer(
    model: str,
    user: Annotated[User, _user],
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: Output | None = None,
) -> Response:
    """Segment an image of the studies, an uploaded file, or a session's image; ``label`` holds scribbles."""
    request = {**_json_object("params", params), "model": model}
    request["annotator"] = annotator(request.get("client_id"), user)
    if output == "dicom_seg":
        request["result_extension"] = SEG
    return await run_sync(_infer, request, image, session_id, file, label, output, limiter=scans_in_memory)


def _infer(
    request: dict[str, Any],
    image: str,
    session_id: str,
    file: UploadFile | None,
    label: UploadFile | None,
    output: Output | None,
) -> Response:
    app = _app()
    app.task(request["model"])
    with _image(app, image, session_id, file) as found, _saved(label) if label else nullcontext("") as drawn:
        result = app.infer({**request, "image": found, "label": str(drawn)})
    mask = Path(result["file"])
    try:
        if output == "json":
            return JSONResponse(result["params"])
        if output in ("image", "dicom_seg"):
            return replies.image(mask)
        return replies.both(result["params"], mask)
    finally:
        mask.unlink()


@contextmanager
def _image(app: WssegApp, image: str, session_id: str, file: UploadFile | None) -> Iterator[str]:
    """What is to be segmented: an id of the studies, or the path of something uploaded."""
    if session_id:
        session = app.sessions().get_session(session_id) if app.sessions() else None
        if session is None:
            raise NotFoundError(f'session "{session_id}" is unknown, it may have expired')
        yield session.image
    elif file:
        with _saved(file) as path:
            yield str(path)
    elif not image:
        raise WssegError("infer: name an image or a session_id, or upload a file")
    elif app.image_path(image) is None:
        raise NotFoundError(f'image "{image}" is unknown')
    else:
        yield image


@router.put("/datastore/", include_in_schema=False, dependencies=[_annotator])
@router.put("/datastore/image", summary="Upload a new image")
def add_image(
    file: Annotated[UploadFile, File()],
    user: Annotated[User, _annotator],
    image: str = "",
    params: Annotated[str, Form()] = "{}",
) -> dict[str, str]:
    """Add a scan to the studies if it is one that can be segmented."""
    info = {**_json_object("params", params), "user": user.username}
    with _saved(file) as path:
        name = image or case_name(path)
        read_scan(path)
        try:
            return {"image": _app().datastore().add_image(name, str(path), info)}
        except OSError as error:
            raise WssegError(f"{name}: cannot be stored ({error.strerror})") from error


@router.put("/datastore/label", summary="Save a label")
def save_label(
    image: str,
    label: Annotated[UploadFile, File()],
    user: Annotated[User, _annotator],
    params: Annotated[str, Form()] = "{}",
    tag: str = FINAL,
) -> dict[str, str]:
    """Store a mask; one tagged ``final`` is complete, so it says on which slices a class is present."""
    app = _app()
    info = _json_object("params", params)
    if app.image_path(image) is None:
        raise NotFoundError(f'image "{image}" is unknown')
    with _saved(label) as path:
        finished = app.weak_labels.read_mask(image, path, info) if tag == FINAL else None
        try:
            stored = app.datastore().save_label(image, str(path), tag, info)
        except OSError as error:
            raise WssegError(f"{image}: its mask cannot be stored ({error.strerror})") from error
    if finished:
        classes = {name for package in app.packages() for name in package.labels.names}
        app.weak_labels.complete(image, finished, classes, annotator(info.get("client_id"), user))
    return {"image": image, "label": stored}


@router.get("/datastore/image/info", dependencies=[_user], summary="Get image info")
def image_info(image: str) -> dict[str, Any]:
    """What is known about an image."""
    store = _app().datastore()
    info = store.get_image_info(image)
    if not info and image not in store.list_images():
        raise NotFoundError(f'image "{image}" is unknown')
    return info


@router.get("/datastore/label/info", dependencies=[_user], summary="Get label info")
def label_info(label: str, tag: str) -> dict[str, Any]:
    """What is known about a label."""
    return _known_label(label, tag)


@router.delete("/datastore/label", dependencies=[_admin], summary="Remove a label")
def remove_label(id: str, tag: str) -> dict[str, Any]:
    """Remove a label."""
    _known_label(id, tag)
    _app().datastore().remove_label(id, tag)
    return {}


def _known_label(label: str, tag: str) -> dict[str, Any]:
    info = _app().datastore().get_label_info(label, tag)
    if not info:
        raise NotFoundError(f'label "{label}" with tag "{tag}" is unknown')
    return info


def annotator(named: object, user: User) -> str:
    """Who gives a label: whoever is logged in, else the name that a page or viewer goes by."""
    return str(user.username if settings.MONAI_LABEL_AUTH_ENABLE else named or user.username)


def _app() -> WssegApp:
    return app_instance()


def _json_object(field: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise WssegError(f"{field}: is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise WssegError(f"{field}: must be a JSON object, not {text[:40]}")
    return value


@contextmanager
def _saved(upload: UploadFile) -> Iterator[Path]:
    """An upload as a file under its own name, which errors then speak of."""
    with tempfile.TemporaryDirectory(prefix="wsseg-") as folder:
        path = Path(folder) / (Path(upload.filename or "").name or "scan.nii.gz")
        try:
            with path.open("wb") as out:
                shutil.copyfileobj(upload.file, out)
        except (OSError, ValueError) as error:
            raise WssegError(f"the uploaded file cannot be stored ({getattr(error, 'strerror', error)})") from error
        with replies.naming(path, path.name):
            yield path
