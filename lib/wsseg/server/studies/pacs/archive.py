"""The scans of an archive as MONAI Label's datastore.

Series are fetched when they are first asked for and kept as files; finished
masks go back as DICOM SEG.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monailabel.config import settings

from wsseg import __version__
from wsseg.archive.web.client import Pacs
from wsseg.archive.web.series import Series
from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.images.dicom.uids import is_uid
from wsseg.images.formats.table import read_grid
from wsseg.images.on_grid import read_drawn
from wsseg.images.volume import Volume
from wsseg.labels.space import Code, Label
from wsseg.models.package import ModelPackage
from wsseg.models.shelf import find_package
from wsseg.server.studies.finished import mask_values
from wsseg.server.studies.index import Info, Known, Listed
from wsseg.server.studies.pacs.cache import EXTENSION, Cache, cache_folder
from wsseg.server.studies.pacs.outbox import Item, Outbox, Submission
from wsseg.server.studies.store import FINAL, ScanStore

logger = logging.getLogger(__name__)

FRESH = 10.0
"""Seconds for which a list of series is not asked for again."""

_FACTS = ("StudyDate", "StudyTime", "Modality", "PatientID")
"""What MONAI Label tells its clients of an image."""

_SOMETHING = Code(scheme="SCT", value="91723000", meaning="Anatomical structure")


class Archive(ScanStore):
    """Every series of the chosen modalities, by SeriesInstanceUID.

    The list is renewed in the background, so nothing waits for a slow archive
    but a scan that is not here yet. A scan counts as labelled if its finished
    mask was sent through this server.

    Args:
        pacs: where the series are.
        filters: attributes and the value, or the values, that a series must have.
        packages: the models, whose classes are coded.
    """

    def __init__(
        self, pacs: Pacs, filters: Mapping[str, str | Sequence[str]], packages: Callable[[], list[ModelPackage]]
    ) -> None:
        self._pacs = pacs
        self._filters = filters
        self._packages = packages
        self._series: dict[str, Series] | None = None
        self._failure = UnavailableError(f"{pacs.url}: its series are being listed")
        self._asked = 0.0
        self._listing_now = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}
        folder = cache_folder(pacs.url)
        super().__init__(folder)
        self._cache = Cache(folder, pacs)
        self._outbox = Outbox(folder / "outbox", pacs, self._write_seg)
        self._list()

    def name(self) -> str:
        """The archive's address."""
        return self._pacs.url

    def list_images(self) -> list[str]:
        """As the archive had them a moment ago.

        Raises:
            UnavailableError: it has not answered since the server started.
        """
        if time.monotonic() - self._asked > FRESH and not self._listing_now.locked():
            threading.Thread(target=self._list, daemon=True).start()
        if self._series is None:
            raise self._failure
        return list(self._series)

    def local(self, image_id: str) -> Path | None:
        """The NIfTI file of a series, if it was fetched."""
        volume = self._cache.volume(image_id)
        return volume if is_uid(image_id) and volume.exists() else None

    def source(self, image_id: str) -> Path | None:
        """The folder of its DICOM files, which are fetched first where they are not here."""
        return self._cache.images(image_id) if self.get_image_uri(image_id) else None

    def title(self, image_id: str) -> str:
        """Patient, day, description, and a short id; the UID where the archive has not listed it."""
        series = (self._series or {}).get(image_id)
        return series.title if series else image_id

    def study(self, image_id: str) -> str | None:
        """Of a series, as the archive listed it."""
        series = (self._series or {}).get(image_id)
        return series.study if series else None

    def get_image_uri(self, image_id: str) -> str:
        """The NIfTI file of a series, which is fetched first where it is not here or has grown; "" if there is none.

        Raises:
            UnavailableError: it is not here, and the archive cannot be reached.
            WssegError: it is not a volume.
        """
        if not is_uid(image_id):
            return ""
        with self._fetching.setdefault(image_id, threading.Lock()):
            if self.local(image_id) is None or self._has_grown(image_id):
                series = self._pacs.find(image_id)
                if series is None:
                    return ""
                self._cache.fetch(series)
        return str(self._cache.volume(image_id))

    def get_image_info(self, image_id: str) -> Info:
        """What the archive, and what clients said of a series."""
        path = self.local(image_id)
        if path is None and image_id not in (self._series or {}):
            return {}
        known = self._image(image_id, path, self.index.read()).info
        return {**known, "path": str(path)} if path else known

    def add_image(self, image_id: str, image_filename: str, image_info: Info, replace: bool = False) -> str:
        """Scans reach an archive otherwise.

        Raises:
            WssegError: always.
        """
        raise WssegError(f"{image_id}: send it to the archive {self._pacs.url}, this server only reads scans from it")

    def remove_image(self, image_id: str) -> None:
        """Scans leave an archive otherwise.

        Raises:
            WssegError: always.
        """
        raise WssegError(f"{image_id}: remove it in the archive {self._pacs.url}, this server only reads scans from it")

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: Info) -> str:
        """Keep a mask here, and send a finished one to the archive as a new DICOM SEG.

        Raises:
            WssegError: it is not on the series' grid.
            KeptError: it is here, but not in the archive yet; it is sent later.
        """
        if label_tag != FINAL:
            return super().save_label(image_id, label_filename, label_tag, label_info)
        # On disk before anything is asked of the archive, or of the writer of DICOM.
        item = self._outbox.keep(Path(label_filename), Submission(image=image_id, info=label_info))
        try:
            self._check(item)
            super().save_label(image_id, label_filename, label_tag, label_info)
        except UnavailableError:
            pass  # sending it will say so
        except WssegError:
            self._outbox.drop(item)
            raise
        self._outbox.send(item)
        return image_id

    def _require(self, image_id: str) -> None:
        if not self.get_image_uri(image_id):
            raise NotFoundError(f'image "{image_id}" is unknown')

    def _image(self, image_id: str, path: Path | None, listed: Listed) -> Known:
        """What clients said of a series, and over it what the archive says now."""
        known = super()._image(image_id, path, listed)
        series = (self._series or {}).get(image_id)
        if series is None:
            return known
        facts = {name: series.facts.get(name, "UNK") for name in _FACTS}
        uids = {"SeriesInstanceUID": series.uid, "StudyInstanceUID": series.study}
        name = f"{series.title.replace('/', '_')}{EXTENSION}"
        return Known(ext=known.ext, info={"ts": 0, **known.info, **uids, **facts, "name": name, "title": series.title})

    def _list(self) -> None:
        """Ask what there is; called in a thread of its own but for the first time."""
        with self._listing_now:
            try:
                found = [series for chosen in _choices(self._filters) for series in self._pacs.series(chosen)]
                self._series = {series.uid: series for series in found}
            except UnavailableError as error:
                self._failure = error
                logger.warning("the list of series is not up to date: %s", error)
            self._asked = time.monotonic()

    def _has_grown(self, uid: str) -> bool:
        """Whether the archive has received more images since the series was fetched."""
        listed = (self._series or {}).get(uid)
        return listed is not None and listed.images > self._cache.count(uid)

    def _check(self, item: Item) -> Volume:
        """A submitted mask on its series' grid.

        Raises:
            NotFoundError: there is no such series.
            WssegError: it is on another grid.
        """
        uid = item.submission.image
        self._require(uid)
        grid = read_grid(self._cache.volume(uid))
        return grid.like(read_drawn(item.mask, grid, uid).voxels)

    def _write_seg(self, item: Item) -> None:
        from wsseg.images.dicom.seg import write_seg
        from wsseg.images.dicom.series import read_series
        from wsseg.images.segments import Segments

        mask, submission = self._check(item), item.submission
        if "model" in submission.info:
            segments = find_package(submission.info["model"]).segments
        else:
            drawn = self._drawn(submission.info, int(mask.voxels.max()))
            segments = Segments(drawn, "wsseg", __version__, edited=True)
        write_seg(item.seg, mask, read_series(self._cache.images(submission.image)), segments)

    def _drawn(self, info: Info, highest: int) -> dict[str, Label]:
        """Classes of a mask that a viewer sends, coded as the models code them."""
        known = {name: label for package in self._packages() for name, label in package.recipe.labels.items()}
        colors = {entry["name"]: entry.get("color") for entry in info.get("label_info") or []}
        names = list(mask_values(info)) or [f"label {value + 1}" for value in range(highest)]
        return {name: known.get(name) or _uncoded(name, colors.get(name)) for name in names}


def open_archive(url: str, packages: Callable[[], list[ModelPackage]]) -> Archive:
    """The archive at a DICOMweb URL, of which the environment names the series that are scans."""
    return Archive(Pacs(url), settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER, packages)


def _uncoded(name: str, color: Any) -> Label:
    """A class that no model has."""
    shown = tuple(color[:3]) if isinstance(color, list) and len(color) >= 3 else (255, 200, 0)
    meaning = Code(scheme="99WSSEG", value=name[:16], meaning=name[:64])
    return Label(color=shown, category=_SOMETHING, type=meaning)


def _choices(filters: Mapping[str, str | Sequence[str]]) -> list[dict[str, str]]:
    """One search for each value, since DICOMweb has no "or"."""
    choices: list[dict[str, str]] = [{}]
    for name, values in filters.items():
        several = [values] if isinstance(values, str) else values
        choices = [{**choice, name: value} for choice in choices for value in several]
    return choices
