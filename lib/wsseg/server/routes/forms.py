"""What clients send in forms: JSON and files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, UploadFile
from pydantic import AfterValidator

from wsseg.errors import WssegError, naming
from wsseg.files import unwritable


def storable(value: Any) -> Any:
    """A value as it came, if it can be written as JSON that everybody can read.

    Raises:
        ValueError: it holds NaN, an infinity or half a surrogate pair, which Python takes for JSON.
    """
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


JsonObject = Annotated[dict[str, Any], Body(), AfterValidator(storable)]
"""The body of a request, an object of any fields."""


def json_object(field: str, text: str) -> dict[str, Any]:
    """The object in a field of a form.

    Raises:
        WssegError: it is not JSON, or not an object.
    """
    try:
        value = storable(json.loads(text or "{}"))
    except RecursionError:
        raise WssegError(f"{field}: is not JSON of a sensible depth") from None
    except ValueError as error:
        raise WssegError(f"{field}: is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise WssegError(f"{field}: must be a JSON object, not {text[:40]}")
    return value


@contextmanager
def saved(upload: UploadFile) -> Iterator[Path]:
    """An upload as a file under its own name, which errors then speak of."""
    with tempfile.TemporaryDirectory(prefix="wsseg-") as folder:
        path = Path(folder) / (Path(upload.filename or "").name or "scan.nii.gz")
        with naming(path, path.name):
            try:
                with path.open("wb") as out:
                    shutil.copyfileobj(upload.file, out)
            except OSError as error:
                raise unwritable(path, error) from error
            except ValueError as error:
                raise WssegError(f"the uploaded file cannot be stored under its name ({error})") from error
            yield path
