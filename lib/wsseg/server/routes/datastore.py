"""Scans, finished masks, and what is known of both, under ``/datastore/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import FileResponse, Response
from monailabel.endpoints import datastore
from monailabel.utils.others.generic import file_checksum
from starlette.background import BackgroundTask

from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.images.formats.table import case_name
from wsseg.images.scan import read_scan
from wsseg.server.app import WssegApp
from wsseg.server.routes.dependencies import ADMIN, ANNOTATOR, USER, App, AsAnnotator, annotator
from wsseg.server.routes.forms import json_object, saved
from wsseg.server.studies.finished import DRAWN_ON, FinishedMask
from wsseg.server.studies.store import FINAL, KeptError

router = APIRouter(prefix="/datastore", tags=["Datastore"])


@router.put("/", include_in_schema=False, dependencies=[ANNOTATOR])
@router.put("/image", summary="Upload a new image")
def add_image(
    app: App,
    file: Annotated[UploadFile, File()],
    user: AsAnnotator,
    image: str = "",
    params: Annotated[str, Form()] = "{}",
    replace: bool = False,
) -> dict[str, str]:
    """Add a scan to the studies if it is one that can be segmented; 409 where it would replace one unasked."""
    info = {**json_object("params", params), "user": user.username}
    with saved(file) as path:
        name = image or case_name(path)
        read_scan(path)
        return {"image": app.datastore().add_image(name, str(path), info, replace)}


@router.delete("/", include_in_schema=False, dependencies=[ADMIN])
@router.delete("/image", dependencies=[ADMIN], summary="Remove an image and its labels")
def remove_image(app: App, id: str) -> dict[str, Any]:
    """Remove an image and its masks; what was said about its slices stays in the database of labels."""
    app.datastore().remove_image(id)
    return {}


@router.put("/label", summary="Save a label")
def save_label(
    app: App,
    image: str,
    label: Annotated[UploadFile, File()],
    user: AsAnnotator,
    params: Annotated[str, Form()] = "{}",
    tag: str = FINAL,
) -> dict[str, str]:
    """Store a mask; one tagged ``final`` is complete, so it says on which slices a class is present."""
    info = json_object("params", params)
    finished, waits = None, None
    with saved(label) as path:
        try:
            if app.image_path(image) is None:
                raise NotFoundError(f'image "{image}" is unknown')
            if tag == FINAL:
                finished = FinishedMask.read(image, path, info, app.weak_labels.studies.grid(image))
                info[DRAWN_ON] = app.weak_labels.identity(image).content
        except UnavailableError:
            pass  # an archive that is away: what was drawn is kept before it is looked at
        try:
            app.datastore().save_label(image, str(path), tag, info)
        except KeptError as error:
            waits = error
    if finished:
        classes = {name for package in app.packages() for name in package.labels.names}
        app.weak_labels.complete(image, finished, classes, annotator(info.get("client_id"), user))
    if waits:
        raise waits
    return {"image": image, "label": image}


@router.get("/image/info", dependencies=[USER], summary="Get image info")
def image_info(app: App, image: str) -> dict[str, Any]:
    """What is known about an image."""
    store = app.datastore()
    info = store.get_image_info(image)
    if not info and image not in store.list_images():
        raise NotFoundError(f'image "{image}" is unknown')
    return info


@router.put("/image/info", summary="Update image info")
def update_image_info(image: str, user: AsAnnotator, info: Annotated[str, Form()] = "{}") -> None:
    """Change fields of what is known about an image."""
    datastore.update_image_info(image, json.dumps(json_object("info", info)), user.username)


@router.head("/image", dependencies=[USER], summary="Check if an image exists")
def check_image(app: App, image: str, check_sum: str = "") -> Response:
    """200 if there is such an image, with that sum where one is given: ``SHA256:...``, ``SHA512:`` or ``MD5:``."""
    path = app.image_path(image)
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


@router.get("/dataset", dependencies=[ANNOTATOR], summary="Download the dataset")
def dataset(app: App, limit_cases: Annotated[int | None, Query(ge=0, le=1_000_000)] = None) -> Response:
    """Scans and their finished masks in one .zip file."""
    if not app.datastore().datalist():
        raise NotFoundError("no scan has a finished mask, there is nothing to download yet")
    path = Path(app.datastore().get_dataset_archive(limit_cases))
    # MONAI Label leaves it, with the scans in it, in the temporary folder.
    return FileResponse(
        path, media_type="application/zip", filename="dataset.zip", background=BackgroundTask(path.unlink)
    )


@router.get("/label/info", dependencies=[USER], summary="Get label info")
def label_info(app: App, label: str, tag: str) -> dict[str, Any]:
    """What is known about a label."""
    return _known_label(app, label, tag)


@router.put("/label/info", summary="Update label info")
def update_label_info(label: str, tag: str, user: AsAnnotator, info: Annotated[str, Form()] = "{}") -> None:
    """Change fields of what is known about a label."""
    datastore.update_label_info(label, tag, json.dumps(json_object("info", info)), user.username)


@router.put("/updatelabelinfo", include_in_schema=False)
def review_label(label: str, tag: str, user: AsAnnotator, params: Annotated[str, Form()] = "{}") -> None:
    """The same as MONAI Label's Reviewer module asks for it."""
    datastore.update_label_info(label, tag, json.dumps(json_object("params", params)), user.username)


@router.delete("/label", dependencies=[ADMIN], summary="Remove a label")
def remove_label(app: App, id: str, tag: str) -> dict[str, Any]:
    """Remove a label."""
    _known_label(app, id, tag)
    app.datastore().remove_label(id, tag)
    return {}


def _known_label(app: WssegApp, label: str, tag: str) -> dict[str, Any]:
    info = app.datastore().get_label_info(label, tag)
    if not info:
        raise NotFoundError(f'label "{label}" with tag "{tag}" is unknown')
    return info
