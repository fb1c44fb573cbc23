"""A picture archive that speaks DICOMweb: what is there, series out of it, results into it.

Every request has a time limit, what may pass is tried again, and what does not
becomes one sentence. Certificates beyond the usual ones are named as for every
program that uses Requests, in ``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from requests.adapters import HTTPAdapter

from wsseg.errors import UnavailableError, WssegError

logger = logging.getLogger(__name__)

USER, PASSWORD = "MONAI_LABEL_DICOMWEB_USERNAME", "MONAI_LABEL_DICOMWEB_PASSWORD"

PATIENCE = (5.0, 30.0)
"""Seconds until a connection stands, and between two pieces of an answer."""

PAUSES = (0.5, 1.5)
"""Seconds before the second try and before the third."""

PAGE = 1000
"""Series that are asked for at a time."""

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""States of a server that may be others a moment later."""

_AS_STORED = ("application/dicom", "*")

Result = TypeVar("Result")


class RefusedError(UnavailableError):
    """The archive answered, and trying again cannot help."""


@dataclass(frozen=True)
class Series:
    """What the archive says of a series.

    Attributes:
        header: of the answer, as the archive gave it.
        uid: of the series.
        study: UID of its study.
        images: how many there are, 0 where the archive does not tell.
    """

    header: Dataset
    uid: str
    study: str
    images: int

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Series:
        """From DICOM JSON; raises whatever nonsense raises."""
        header = Dataset.from_json(answer)
        images = header.get("NumberOfSeriesRelatedInstances") or 0
        return cls(header, str(header.SeriesInstanceUID), str(header.StudyInstanceUID), int(images))


class Pacs:
    """One archive.

    All methods raise :class:`UnavailableError` where it cannot be reached or
    does not answer as DICOMweb, and :class:`RefusedError` where it will not.

    Args:
        url: of its DICOMweb services.

    Raises:
        WssegError: the URL holds a password, or is none.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if "@" in self.url:
            raise WssegError(f"--studies: give user and password in {USER} and {PASSWORD}, not in the address")
        prefixes = {f"{kind}_url_prefix": prefix(kind) for kind in ("qido", "wado", "stow")}
        try:
            self._client = DICOMwebClient(self.url, session(), **prefixes)
        except ValueError as error:
            raise WssegError(f"--studies {url}: is not an address like https://host:8042/dicom-web") from error
        self._client.set_http_retry_params(retry=False)  # it would not try again when a connection fails

    def check(self) -> None:
        """One small question, asked once."""
        with self._clear():
            _series(self._client.search_for_series(limit=1))

    def series(self, filters: dict[str, str]) -> list[Series]:
        """All series that match."""
        found: dict[str, Series] = {}
        while True:
            offset = len(found)
            page = self._patiently(lambda: self._search(filters, limit=PAGE, offset=offset))  # noqa: B023  (called at once)
            found.update({series.uid: series for series in page})
            # Some archives answer with everything, whatever limit and offset say.
            if len(page) != PAGE or len(found) == offset:
                return list(found.values())

    def find(self, uid: str) -> Series | None:
        """One series, None if there is none."""
        found = self._patiently(lambda: self._search({"SeriesInstanceUID": uid}))
        return next((series for series in found if series.uid == uid), None)

    def fetch(self, series: Series, folder: Path) -> None:
        """Write every file of a series, compressed as the archive has them, into an empty folder."""
        self._patiently(lambda: self._fetch(series, folder))

    def store(self, file: Path) -> None:
        """Send a DICOM file; sent twice it is there once."""
        dataset = dcmread(file)
        answer = self._patiently(lambda: self._client.store_instances([dataset]))
        if failed := answer.get("FailedSOPSequence"):
            raise RefusedError(f"{self.url}: did not store the result (reason {failed[0].get('FailureReason')})")

    def _search(self, filters: dict[str, str], **page: int) -> list[Series]:
        return _series(self._client.search_for_series(search_filters=filters, **page))

    def _fetch(self, series: Series, folder: Path) -> None:
        received = 0
        for image in self._client.iter_series(series.study, series.uid, media_types=(_AS_STORED,)):
            image.save_as(folder / f"{image.SOPInstanceUID}.dcm")
            received += 1
        if received < series.images:
            raise requests.ConnectionError(f"{received} of {series.images} images came")

    def _patiently(self, ask: Callable[[], Result]) -> Result:
        """Ask again after a pause if what failed may pass."""
        for pause in PAUSES:
            try:
                with self._clear():
                    return ask()
            except RefusedError:
                raise
            except UnavailableError as error:
                logger.warning("%s, trying again in %.1f s", error, pause)
                time.sleep(pause)
        with self._clear():
            return ask()

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """One sentence for whatever an archive, and what stands before it, may answer."""
        try:
            yield
        except OSError as error:  # all that Requests raises, and a disk that is full
            raise explained(self.url, error) from error
        except Exception as error:  # whatever nonsense sets off in the libraries that read it
            raise _nonsense(self.url) from error


def explained(url: str, error: OSError) -> WssegError:
    """Why a request to an archive failed, in one sentence."""
    answer = getattr(error, "response", None)
    if isinstance(error, requests.exceptions.SSLError):
        return RefusedError(
            f"{url}: its certificate is not trusted, name the file of its authority in REQUESTS_CA_BUNDLE"
        )
    if isinstance(error, requests.JSONDecodeError):
        return _nonsense(url)
    if answer is not None and answer.status_code in (401, 403):
        return RefusedError(f"{url}: refuses user and password, which {USER} and {PASSWORD} hold")
    if answer is not None:
        kind = UnavailableError if answer.status_code in _PASSING else RefusedError
        return kind(f"{url}: answers with status {answer.status_code} {answer.reason}")
    if isinstance(error, requests.Timeout):
        return UnavailableError(f"{url}: does not answer in time")
    if isinstance(error, requests.RequestException):
        return UnavailableError(f"{url}: cannot be reached, or the connection broke")
    return WssegError(f"what came from {url} cannot be written ({error.strerror})")


def session() -> requests.Session:
    """Connections with time limits and the credentials of the environment."""
    made = requests.Session()
    if os.environ.get(USER):
        made.auth = (os.environ[USER], os.environ.get(PASSWORD, ""))
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Limited())
    return made


class _Limited(HTTPAdapter):
    """Requests waits for ever unless told otherwise at each request."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        return super().send(request, *args, **{**options, "timeout": PATIENCE})


def prefix(kind: str) -> str | None:
    """What stands between the archive's address and a service's paths, as MONAI Label is told of it."""
    return os.environ.get(f"MONAI_LABEL_{kind.upper()}_PREFIX") or None


def _series(answer: list[dict[str, Any]]) -> list[Series]:
    return [Series.of(entry) for entry in answer]


def _nonsense(url: str) -> UnavailableError:
    return RefusedError(f"{url}: does not answer as DICOMweb does, is the address right?")
