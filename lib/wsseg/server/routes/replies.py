"""Answers in the shapes MONAI Label's clients read, and errors as one sentence."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from monailabel.interfaces.exception import MONAILabelException
from monailabel.utils.others.generic import get_mime_type
from requests_toolbelt import MultipartEncoder

from wsseg.errors import WssegError
from wsseg.files import is_full

logger = logging.getLogger(__name__)


def both(params: dict[str, Any], file: Path) -> Response:
    """``params`` as JSON and ``image`` as a file, in one multipart body."""
    fields = {
        "params": (None, json.dumps(params), "application/json"),
        "image": (file.name, file.read_bytes(), get_mime_type(file.name)),
    }
    body = MultipartEncoder(fields=fields)
    return Response(body.to_string(), media_type=body.content_type)


def image(file: Path) -> Response:
    """The file alone."""
    kind = "application/dicom" if file.suffix == ".dcm" else get_mime_type(file.name)
    return Response(file.read_bytes(), media_type=kind, headers=_named(file.name))


def _named(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


def sentence(status: int, detail: str) -> JSONResponse:
    """An error as clients expect it."""
    return JSONResponse({"detail": detail}, status)


def refusal(error: WssegError) -> JSONResponse:
    """One of our errors as clients expect it."""
    return sentence(error.status, str(error))


def answer_errors(app: FastAPI) -> None:
    """Make every error of the application a status and a sentence, never a stack trace."""

    @app.exception_handler(WssegError)
    async def ours(request: Request, error: WssegError) -> Response:
        return refusal(error)

    @app.exception_handler(MONAILabelException)
    async def theirs(request: Request, error: MONAILabelException) -> Response:
        # Raised by its app and data store where a name is not known.
        return sentence(404, error.msg)

    @app.exception_handler(FileNotFoundError)
    async def gone(request: Request, error: FileNotFoundError) -> Response:
        # Somebody else removed it between two looks; its name may be that of a patient.
        return sentence(404, "a file that this needs was removed meanwhile, load the list of scans again")

    @app.exception_handler(OSError)
    async def not_stored(request: Request, error: OSError) -> Response:
        # Of libraries: what we write ourselves says which file it was.
        if is_full(error):
            return sentence(507, f"the server has no room for this ({error.strerror}), nothing was kept of it")
        raise error

    @app.exception_handler(json.JSONDecodeError)
    async def not_json(request: Request, error: json.JSONDecodeError) -> Response:
        return sentence(400, f"the request holds JSON that cannot be read ({error})")

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return sentence(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        # Starlette raises it again after this reply, so the log has the stack trace.
        return sentence(500, f"the server failed on this request ({type(error).__name__}), its log says where")
