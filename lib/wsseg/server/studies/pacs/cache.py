"""Series of an archive on this machine: as they came, and as one volume."""

from __future__ import annotations

import logging
import re
import shutil
import time
from pathlib import Path
from uuid import uuid4

from filelock import FileLock
from monailabel.config import settings

from wsseg.archive.web.client import Pacs
from wsseg.archive.web.series import Series
from wsseg.errors import naming
from wsseg.files import held, home, make_folder, sweep, unwritable
from wsseg.images.formats.nifti import write_nifti
from wsseg.server.studies.index import LOCK, LOCK_SECONDS

logger = logging.getLogger(__name__)

EXTENSION = ".nii.gz"

_VOLUME = f"volume{EXTENSION}"


class Cache:
    """A folder for each series, and its volume beside it.

    Args:
        folder: is made.
        pacs: where series come from.
    """

    def __init__(self, folder: Path, pacs: Pacs) -> None:
        self._folder = folder
        self._pacs = pacs
        self._incoming = folder / "incoming"
        make_folder(self._incoming)
        sweep(self._incoming, "*")

    def volume(self, uid: str) -> Path:
        """Where the volume of a series is, or will be."""
        return self._folder / f"{uid}{EXTENSION}"

    def images(self, uid: str) -> Path:
        """Where its DICOM files are, or will be."""
        return self._folder / uid

    def count(self, uid: str) -> int:
        """Of its files that are here."""
        return len(list(self.images(uid).glob("*.dcm")))

    def fetch(self, series: Series) -> None:
        """Fetch, convert and only then show a series.

        Raises:
            UnavailableError: the archive cannot be reached.
            WssegError: it is not a volume, or there is no room.
        """
        from wsseg.images.scan import read_any

        started = time.perf_counter()
        part = self._incoming / uuid4().hex
        try:
            make_folder(part)
            with held(part), naming(part, series.uid):
                self._pacs.fetch(series, part)
                scan = read_any(part).volume
                write_nifti(part / _VOLUME, scan.voxels, scan.affine)
                self._show(part, series.uid)
        except OSError as error:
            raise unwritable(Path(series.uid), error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        logger.info("fetched a series in %.1f s", time.perf_counter() - started)

    def _show(self, part: Path, uid: str) -> None:
        """Put what was fetched in place, the volume last: without it a series is fetched again."""
        with FileLock(self._folder / LOCK, timeout=LOCK_SECONDS):  # another server may have fetched it too
            self.volume(uid).unlink(missing_ok=True)
            shutil.rmtree(self.images(uid), ignore_errors=True)
            part.rename(self.images(uid))
            (self.images(uid) / _VOLUME).replace(self.volume(uid))


def cache_folder(url: str) -> Path:
    """Where series are kept: one folder for each archive."""
    above = Path(settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or home() / "archive")
    return above / (re.sub(r"[^0-9A-Za-z.-]+", "_", url.partition("://")[2]).lstrip(".") or "archive")
