"""Our routes, which take the place of MONAI Label's own of the same paths.

Its endpoints are ``async def`` around blocking code, so a scan being segmented
stops every other request; these work in threads. They also refuse what its own
let through: unknown names, damaged uploads.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Body, Depends, File, Form, HTTPException, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response
from monailabel.config import settings
from monailabel.endpoints import activelearning, datastore
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import file_checksum
from starlette.background import BackgroundTask

from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.images.scan import SEG
from wsseg.images.volume import case_name, read_scan
from wsseg.server.app import WssegApp
from wsseg.server.jobs import batch
from wsseg.server.routes import proxy, replies
from wsseg.server.routes.forms import json_object, saved
from wsseg.server.studies import sessions
from wsseg.server.tasks import train

Output = Literal["image", "json", "all", "dicom_seg"]

FINAL = DefaultLabelTag.FINAL.value

GPU_SECONDS = 20.0
"""For nvidia-smi, which waits without end for a driver that is stuck."""

router = APIRouter()
router.include_router(train.router)
router.include_router(proxy.router)
router.include_router(batch.router)
router.include_router(sessions.router)

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
    request = {**json_object("params", params), "model": model}
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
    with _image(app, image, session_id, file) as found, saved(label) if label else nullcontext("") as drawn:
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
        with saved(file) as path:
            yield str(path)
    elif not image:
        raise WssegError("infer: name an image or a session_id, or upload a file")
    elif app.image_path(image) is None:
        raise NotFoundError(f'image "{image}" is unknown')
    else:
        yield image


@router.post("/infer/wsi/{model}", include_in_schema=False, dependencies=[_user])
@router.post("/infer/wsi_v2/{model}", include_in_schema=False, dependencies=[_user])
def infer_slide(model: str) -> None:
    """Refuse slides of pathology, which MONAI Label segments region by region."""
    _app().task(model)
    raise WssegError(f"{model}: segments scans, not regions of slides, ask for /infer/{model}")


@router.post("/activelearning/{strategy}", dependencies=[_user], summary="Choose the next sample")
def next_sample(
    strategy: str, user: Annotated[User, _user], params: Annotated[dict[str, Any] | None, Body()] = None
) -> dict[str, Any]:
    """The scan to label next, ``{}`` where all are labelled; a model may take seconds to choose."""
    return activelearning.sample(strategy, {**(params or {}), "strategy": strategy}, user.username)


@router.put("/datastore/", include_in_schema=False, dependencies=[_annotator])
@router.put("/datastore/image", summary="Upload a new image")
def add_image(
    file: Annotated[UploadFile, File()],
    user: Annotated[User, _annotator],
    image: str = "",
    params: Annotated[str, Form()] = "{}",
) -> dict[str, str]:
    """Add a scan to the studies if it is one that can be segmented."""
    info = {**json_object("params", params), "user": user.username}
    with saved(file) as path:
        name = image or case_name(path)
        read_scan(path)
        try:
            return {"image": _app().datastore().add_image(name, str(path), info)}
        except OSError as error:
            raise WssegError(f"{name}: cannot be stored ({error.strerror})") from error


@router.delete("/datastore/", include_in_schema=False, dependencies=[_admin])
@router.delete("/datastore/image", dependencies=[_admin], summary="Remove an image and its labels")
def remove_image(id: str) -> dict[str, Any]:
    """Remove an image and its masks; what was said about its slices stays in the database of labels."""
    store = _app().datastore()
    store.remove_image(id)
    store.refresh()  # the next request must not find it
    return {}


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
    info = json_object("params", params)
    if app.image_path(image) is None:
        raise NotFoundError(f'image "{image}" is unknown')
    with saved(label) as path:
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


@router.put("/datastore/image/info", summary="Update image info")
def update_image_info(image: str, user: Annotated[User, _annotator], info: Annotated[str, Form()] = "{}") -> None:
    """Change fields of what is known about an image."""
    datastore.update_image_info(image, json.dumps(json_object("info", info)), user.username)


@router.head("/datastore/image", dependencies=[_user], summary="Check if an image exists")
def check_image(image: str, check_sum: str = "") -> Response:
    """200 if there is such an image, with that sum where one is given: ``SHA256:...``, ``SHA512:`` or ``MD5:``."""
    path = _app().image_path(image)
    if path is None:
        raise NotFoundError(f'image "{image}" is unknown')
    algorithm, _, digest = check_sum.rpartition(":")
    if check_sum and file_checksum(path, _known_sum(algorithm)) != f"{algorithm or 'SHA256'}:{digest.lower()}":
        raise NotFoundError(f"{image}: is another file than that of this sum")
    return Response()


def _known_sum(algorithm: str) -> str:
    if algorithm not in ("", "SHA256", "SHA512", "MD5"):
        raise WssegError(f"check_sum: {algorithm} is unknown, use SHA256, SHA512 or MD5")
    return algorithm or "SHA256"


@router.get("/datastore/dataset", dependencies=[_annotator], summary="Download the dataset")
def dataset(limit_cases: int | None = None) -> Response:
    """Scans and their finished masks in one .zip file."""
    if not _app().datastore().datalist():
        raise NotFoundError("no scan has a finished mask, there is nothing to download yet")
    path = Path(_app().datastore().get_dataset_archive(limit_cases))
    # MONAI Label leaves it, with the scans in it, in the temporary folder.
    return FileResponse(
        path, media_type="application/zip", filename="dataset.zip", background=BackgroundTask(path.unlink)
    )


@router.get("/datastore/label/info", dependencies=[_user], summary="Get label info")
def label_info(label: str, tag: str) -> dict[str, Any]:
    """What is known about a label."""
    return _known_label(label, tag)


@router.put("/datastore/label/info", summary="Update label info")
def update_label_info(
    label: str, tag: str, user: Annotated[User, _annotator], info: Annotated[str, Form()] = "{}"
) -> None:
    """Change fields of what is known about a label."""
    datastore.update_label_info(label, tag, json.dumps(json_object("info", info)), user.username)


@router.put("/datastore/updatelabelinfo", include_in_schema=False)
def review_label(
    label: str, tag: str, user: Annotated[User, _annotator], params: Annotated[str, Form()] = "{}"
) -> None:
    """The same as MONAI Label's Reviewer module asks for it."""
    datastore.update_label_info(label, tag, json.dumps(json_object("params", params)), user.username)


@router.delete("/datastore/label", dependencies=[_admin], summary="Remove a label")
def remove_label(id: str, tag: str) -> dict[str, Any]:
    """Remove a label."""
    _known_label(id, tag)
    store = _app().datastore()
    store.remove_label(id, tag)
    store.refresh()  # the next request must not find it
    return {}


def _known_label(label: str, tag: str) -> dict[str, Any]:
    info = _app().datastore().get_label_info(label, tag)
    if not info:
        raise NotFoundError(f'label "{label}" with tag "{tag}" is unknown')
    return info


@router.put("/model/{model}", dependencies=[_admin], include_in_schema=False)
@router.delete("/model/{model}", dependencies=[_admin], include_in_schema=False)
def change_model(model: str) -> None:
    """Refuse to change weights in place, which would change what a version means."""
    _app().package(model)
    reason = "versions of a model are never changed: train it for a new one, or roll back to an older one"
    raise HTTPException(405, f"{model}: {reason}", {"allow": "GET"})


@router.get("/logs/gpu", dependencies=[_admin], summary="What nvidia-smi says")
def gpus() -> Response:
    """Memory and work of the GPUs."""
    if shutil.which("nvidia-smi") is None:
        raise NotFoundError("this server has no nvidia-smi, so no GPU that it could ask")
    try:
        told = subprocess.run(["nvidia-smi"], capture_output=True, check=False, timeout=GPU_SECONDS).stdout
    except subprocess.TimeoutExpired as error:
        raise UnavailableError("nvidia-smi does not answer, a GPU or its driver may be stuck") from error
    return Response(told, media_type="text/plain")


@router.post("/reload", dependencies=[_admin], include_in_schema=False)
def reload() -> dict[str, Any]:
    """Look for new models and scans; MONAI Label's own forgets the application, with the training it watches."""
    app = _app()
    app.renew_models()
    app.datastore().refresh()
    return {}


def annotator(named: object, user: User) -> str:
    """Who gives a label: whoever is logged in, else the name that a page or viewer goes by."""
    return str(user.username if settings.MONAI_LABEL_AUTH_ENABLE else named or user.username)


def _app() -> WssegApp:
    return app_instance()
