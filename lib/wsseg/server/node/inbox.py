"""What was sent, on disk: a folder for each series, until its result has arrived where it goes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from pydicom import Dataset
from pydicom.filewriter import dcmwrite

from wsseg.errors import WssegError
from wsseg.files import PART, make_folder, sweep, whole_file
from wsseg.images.dicom.slice import read_header
from wsseg.images.dicom.uids import REFERENCES, is_uid

WHY = "why.txt"
"""In the folder of a series that could not be segmented."""


class Inbox:
    """Series that were sent, a folder of files each.

    Args:
        folder: is made.
        quiet: seconds without a new file after which a series counts as whole.
    """

    def __init__(self, folder: Path, quiet: float) -> None:
        self._folder = folder / "incoming"
        self._failed = folder / "failed"
        self._quiet = quiet
        for place in (self._folder, self._failed):
            make_folder(place)
        for series in self._folder.iterdir():
            sweep(series, f"{PART}*")

    def take(self, dataset: Dataset) -> None:
        """Put one image on disk; the same one sent again takes its own place.

        Raises:
            WssegError: it is no image that can be read again, or its UIDs are none.
            FullError: there is no room.
        """
        _, series, instance = uids = [str(dataset.get(name, "")) for name in REFERENCES]
        if not all(map(is_uid, uids)):
            raise WssegError(f"{', '.join(REFERENCES)}: one is missing or no UID")
        folder = self._folder / series
        make_folder(folder)
        with whole_file(folder / f"{instance}.dcm") as part:
            dcmwrite(part, dataset, write_like_original=False)
            if read_header(part) is None:
                raise WssegError("is no image")

    def whole(self) -> list[Path]:
        """Folders of series to which nothing was added for a while, the oldest first."""
        found = [(max(map(_written, files)), folder) for folder in self._folder.iterdir() if (files := _files(folder))]
        return [folder for newest, folder in sorted(found) if time.time() - newest >= self._quiet]

    def done(self, folder: Path) -> None:
        """Forget a series whose result has arrived."""
        shutil.rmtree(folder, ignore_errors=True)

    def fail(self, folder: Path, why: str) -> None:
        """Put a series aside, with the reason beside it."""
        with whole_file(folder / WHY) as part:
            part.write_text(why, encoding="utf-8")
        shutil.rmtree(self._failed / folder.name, ignore_errors=True)
        folder.rename(self._failed / folder.name)


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("[!.]*.dcm"))


def _written(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return time.time()
