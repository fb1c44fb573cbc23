"""One family of errors: what is wrong, in which file or field, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class WssegError(Exception):
    """Something the user gave is wrong; the message is one sentence for them.

    The command line prints it and exits with 2; the server answers it as
    ``detail`` with status 400.
    """

    status = 400


class NotFoundError(WssegError):
    """A model, image or case of that name does not exist; status 404."""

    status = 404


class UnavailableError(WssegError):
    """What is needed cannot be reached now, trying again later may help; status 503."""

    status = 503


class ConflictError(WssegError):
    """Something else of that name is there; status 409."""

    status = 409


class FullError(WssegError):
    """There is no room where something was to be written; status 507."""

    status = 507


@contextmanager
def naming(path: Path, name: str) -> Iterator[None]:
    """Errors about a file speak of it by the name that whoever asks knows it by."""
    try:
        yield
    except WssegError as error:
        raise type(error)(str(error).replace(str(path), name)) from error
