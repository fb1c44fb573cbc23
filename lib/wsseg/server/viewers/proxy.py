"""OHIF's way to the archive, through this server: its credentials stay here.

MONAI Label's own drops the query, so that a search for one patient returns all,
and stops every other request while the archive thinks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import lru_cache
from typing import IO

import requests
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from monailabel.config import settings
from starlette.concurrency import run_in_threadpool

from wsseg.archive.web.client import explained, prefix, session
from wsseg.errors import NotFoundError
from wsseg.server.routes.dependencies import USER

SERVICES = ("qido", "wado", "stow")

PIECE = 1 << 20
"""Bytes that are passed on at a time."""

_ASKED = ("accept", "content-type")
_ANSWERED = ("content-type", "content-length", "content-encoding")

router = APIRouter(prefix="/proxy/dicom", include_in_schema=False, dependencies=[USER])


@router.api_route("/{path:path}", methods=["GET", "POST"])
async def pass_on(path: str, request: Request) -> StreamingResponse:
    """A request to the archive, as it is; the first part of the path names the service."""
    archive = settings.MONAI_LABEL_STUDIES.rstrip("/")
    if not archive.startswith("http"):
        raise NotFoundError("the studies are a folder, OHIF needs those of an archive")
    service, _, rest = path.partition("/")
    if service not in SERVICES or ".." in rest.split("/"):
        raise NotFoundError(f'"{path}" is not a path of DICOMweb')
    service = "wado" if rest.endswith("metadata") else service  # OHIF asks the search for them
    address = "/".join(part for part in (archive, prefix(service), rest) if part)
    if request.url.query:
        address += f"?{request.url.query}"
    headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
    with tempfile.SpooledTemporaryFile(PIECE) as body:
        async for piece in request.stream():
            await run_in_threadpool(body.write, piece)
        sent = body if body.tell() else None  # of an empty one, requests would announce pieces that never come
        body.seek(0)
        answer = await run_in_threadpool(_ask, archive, request.method, address, headers, sent)
    passed = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
    return StreamingResponse(_pieces(answer), answer.status_code, passed)


def _pieces(answer: requests.Response) -> Iterator[bytes]:
    with answer:
        yield from answer.raw.stream(PIECE, decode_content=False)


def _ask(archive: str, method: str, address: str, headers: dict[str, str], body: IO[bytes] | None) -> requests.Response:
    try:
        return _session().request(method, address, headers=headers, data=body, stream=True)
    except requests.RequestException as error:
        raise explained(archive, error) from error


@lru_cache
def _session() -> requests.Session:
    return session()
