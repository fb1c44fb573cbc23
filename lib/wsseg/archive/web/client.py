"""A picture archive that speaks DICOMweb: what is there, series out of it, results into it.

Every request has a time limit, what may pass is tried again, and what does not
becomes one sentence. Certificates beyond the usual ones are named as for every
program that uses Requests, in ``REQUESTS_CA_BUNDLE``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth
from urllib3 import Retry
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from wsseg.archive.web.replies import RefusedError, bound, parts
from wsseg.archive.web.series import ASKED, Series
from wsseg.errors import FullError, UnavailableError, WssegError
from wsseg.files import no_room
from wsseg.images.dicom.slice import read_header
from wsseg.images.dicom.uids import REFERENCES, is_uid

logger = logging.getLogger(__name__)

USER, PASSWORD = "MONAI_LABEL_DICOMWEB_USERNAME", "MONAI_LABEL_DICOMWEB_PASSWORD"

PATIENCE = (5.0, 30.0)
"""Seconds until a connection stands, and between two pieces of an answer."""

TRIES = 3
"""Of each request, and of a series whose images do not all arrive."""

BACKOFF = 0.75
"""Seconds before the second try; twice as many before the third."""

PAGE = 1000
"""Series that are asked for at a time."""

WILDCARDS = {"*": "%2A", "?": "%3F"}
"""Of values that are asked for, and what libraries make of them; Orthanc finds nothing by those."""

_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""States of a server that may be others a moment later."""

MOST_SERIES = 200_000
"""That a server lists."""

_AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


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
            raise WssegError(f"the archive's address: give user and password in {USER} and {PASSWORD}, not in it")
        qido, wado, stow = (prefix(kind) for kind in ("qido", "wado", "stow"))
        self._session = session()
        self._session.hooks["response"].append(lambda reply, **_: bound(reply))
        self._retrieval = "/".join(filter(None, (self.url, wado)))
        try:
            self._client = DICOMwebClient(self.url, self._session, qido, wado, stow)
        except ValueError as error:
            raise WssegError(f"{url}: is not an address like https://host:8042/dicom-web") from error
        self._client.set_http_retry_params(retry=False)  # the session tries again, after a failed connection too

    def check(self) -> None:
        """One small question."""
        with self._clear():
            self._search({}, limit=1)

    def series(self, filters: dict[str, str]) -> list[Series]:
        """All series that match.

        Raises:
            RefusedError: there are more than :data:`MOST_SERIES`.
        """
        found: dict[str, Series] = {}
        for page in self.pages(filters):
            found |= {series.uid: series for series in page}
            if len(found) > MOST_SERIES:
                raise RefusedError(f"{self.url}: lists more than {MOST_SERIES} series, ask for fewer by filters")
        return list(found.values())

    def pages(self, filters: dict[str, str], start: int = 0) -> Iterator[list[Series]]:
        """Series that match, a page at a time, none kept.

        Args:
            filters: attributes and their values; of a date also a range, as in "20240131-".
            start: how many entries of the list to leave out.
        """
        last: set[str] = set()
        while True:
            with self._clear():
                page = self._search(filters, limit=PAGE, offset=start)
            found = [series for series in map(Series.of, page) if series]
            # Some archives answer with everything, whatever limit and offset say.
            if (uids := {series.uid for series in found}) == last:
                return
            yield found
            last = uids
            start += len(page)
            if len(page) != PAGE:
                return

    def find(self, uid: str) -> Series | None:
        """One series, None if there is none."""
        with self._clear():
            found = [Series.of(answer) for answer in self._search({"SeriesInstanceUID": uid})]
        return next((series for series in found if series and series.uid == uid), None)

    def fetch(self, series: Series, folder: Path) -> None:
        """Write every file of a series, compressed as the archive has them, into an empty folder.

        The files are called 000001.dcm and so on: what an archive calls its images is no name for a file.
        """
        for rest in reversed(range(TRIES)):
            try:
                with self._clear():
                    return self._fetch(series, folder)
            except RefusedError:
                raise
            except UnavailableError as error:
                if not rest:
                    raise
                logger.warning("%s, trying again", error)

    def store(self, file: Path) -> None:
        """Send a DICOM file; sent twice it is there once."""
        dataset = dcmread(file)
        with self._clear():
            answer = self._client.store_instances([dataset])
        if failed := answer.get("FailedSOPSequence"):
            raise RefusedError(f"{self.url}: did not store the result (reason {failed[0].get('FailureReason')})")

    def holds(self, study: str, series: str, instance: str) -> bool:
        """Whether it has one object, by the UIDs."""
        with self._clear():
            try:
                found = self._client.search_for_instances(study, series, search_filters={"SOPInstanceUID": instance})
            except requests.HTTPError as error:
                if error.response is not None and error.response.status_code == 404:
                    return False
                raise
            return any(entry["00080018"]["Value"] == [instance] for entry in found)

    def _search(
        self, filters: dict[str, str], limit: int | None = None, offset: int | None = None
    ) -> list[dict[str, Any]]:
        """DICOM JSON of series; an archive of other answers is none."""
        answer = self._client.search_for_series(search_filters=filters, fields=ASKED, limit=limit, offset=offset)
        if not isinstance(answer, list) or not all(isinstance(entry, dict) for entry in answer):
            raise ValueError("a list of objects was expected")
        if answer and not any(map(Series.of, answer)):
            raise ValueError("no entry has the UIDs that every series has")
        return answer

    def _fetch(self, series: Series, folder: Path) -> None:
        # dicomweb-client would parse each image, and so unpack a deflated one to whatever it holds.
        address = f"{self._retrieval}/studies/{series.study}/series/{series.uid}"
        received: set[str] = set()
        with self._session.get(address, headers=_AS_STORED, stream=True) as reply:
            reply.raise_for_status()
            for content in parts(reply):
                file = folder / f"{len(received) + 1:06d}.dcm"
                file.write_bytes(content)
                image = read_header(file)  # None for what is no image, and is passed over later
                name = file.name if image is None else str(image.get("SOPInstanceUID"))
                for uid in REFERENCES:
                    if image is not None and not is_uid(str(image.get(uid, ""))):
                        raise RefusedError(f"{self.url}: sent an image whose {uid} is no UID")
                if name in received:
                    file.unlink()
                received.add(name)
        if len(received) < series.images:
            raise requests.ConnectionError(f"{len(received)} of {series.images} images came")

    @contextmanager
    def _clear(self) -> Iterator[None]:
        """One sentence for whatever an archive, and what stands before it, may answer."""
        try:
            yield
        except WssegError:
            raise
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
    if isinstance(error, requests.Timeout) or _took_too_long(error):
        return UnavailableError(f"{url}: does not answer in time")
    if isinstance(error, requests.RequestException):
        return UnavailableError(f"{url}: cannot be reached, or the connection broke")
    local = FullError if no_room(Path(), error) else WssegError
    return local(f"what came from {url} cannot be written ({error.strerror})")


def _took_too_long(error: OSError) -> bool:
    """Whether every try ended with a silence, which Requests calls a broken connection."""
    cause = error.args[0] if error.args else None
    return isinstance(cause.reason if isinstance(cause, MaxRetryError) else cause, ReadTimeoutError)


def session() -> requests.Session:
    """Connections with time limits, several tries, and the credentials of the environment."""
    made = requests.Session()
    if os.environ.get(USER):
        # As bytes, since Requests would encode text in Latin-1, and archives read UTF-8.
        made.auth = HTTPBasicAuth(os.environ[USER].encode(), os.environ.get(PASSWORD, "").encode())
    for scheme in ("http://", "https://"):
        made.mount(scheme, _Patient())
    return made


class _Patient(HTTPAdapter):
    """Tries again what may pass, a result that is sent too, since it is then there once.

    How long an archive asks to be left alone is not heeded: it may say hours.
    """

    def __init__(self) -> None:
        again = Retry(
            TRIES - 1,
            other=0,  # a certificate, which will not be trusted the next time either
            allowed_methods=None,
            status_forcelist=_PASSING,
            backoff_factor=BACKOFF,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        super().__init__(max_retries=again)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Requests waits for ever unless told otherwise at each request; wildcards go as they are."""
        for wildcard, escaped in WILDCARDS.items():
            request.url = (request.url or "").replace(escaped, wildcard)
        return super().send(request, *args, **{**options, "timeout": PATIENCE})


def prefix(kind: str) -> str | None:
    """What stands between the archive's address and a service's paths, as MONAI Label is told of it."""
    return os.environ.get(f"MONAI_LABEL_{kind.upper()}_PREFIX") or None


def _nonsense(url: str) -> UnavailableError:
    return RefusedError(f"{url}: does not answer as DICOMweb does, is the address right?")
