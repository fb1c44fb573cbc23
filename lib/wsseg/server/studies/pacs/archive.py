"""The scans of an archive as MONAI Label's datastore.

Series are fetched when they are first asked for and kept as files; finished
masks go back as DICOM SEG.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock
from monailabel.config import settings
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore
from monailabel.interfaces.datastore import DefaultLabelTag

from wsseg import __version__
from wsseg.errors import UnavailableError, WssegError, naming
from wsseg.files import home, make_folder
from wsseg.images.formats import read_grid
from wsseg.images.nifti import write_nifti
from wsseg.images.on_grid import read_drawn
from wsseg.labels.space import Code, Label
from wsseg.models.package import ModelPackage, find_package
from wsseg.server.studies.labels import mask_values
from wsseg.server.studies.pacs.client import Pacs, Series
from wsseg.server.studies.pacs.outbox import Outbox

logger = logging.getLogger(__name__)

FRESH = 10.0
"""Seconds for which a list of series is not asked for again."""

_EXTENSION = ".nii.gz"

_ABANDONED = 3600.0
"""Seconds after which nobody is still fetching a series."""

_UID = re.compile(r"[0-9][0-9.]{0,63}")

_FACTS = ("StudyDate", "StudyTime", "Modality", "PatientID", "StudyInstanceUID")
"""What MONAI Label tells its clients of an image."""

_SOMETHING = Code(scheme="SCT", value="91723000", meaning="Anatomical structure")


class Archive(LocalDatastore):
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
        self._listed: dict[str, Series] | None = None
        self._failure = UnavailableError(f"{pacs.url}: its series are being listed")
        self._asked = 0.0
        self._listing = threading.Lock()
        self._fetching: dict[str, threading.Lock] = {}
        self._folder = _cache(pacs.url)
        self._incoming = self._folder / "incoming"
        make_folder(self._incoming)
        _forget_interrupted(self._incoming)
        self._outbox = Outbox(self._folder / "outbox", pacs)
        super().__init__(str(self._folder), extensions=("*.nii.gz", "*.nii", "*.nrrd"), auto_reload=True)
        self._list()

    def name(self) -> str:
        """The archive's address."""
        return self._pacs.url

    def list_images(self) -> list[str]:
        """As the archive had them a moment ago.

        Raises:
            UnavailableError: it has not answered since the server started.
        """
        if time.monotonic() - self._asked > FRESH and not self._listing.locked():
            threading.Thread(target=self._list, daemon=True).start()
        if self._listed is None:
            raise self._failure
        return list(self._listed)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Sequence[str] | None = None) -> list[str]:
        """Those of which no finished mask was sent through this server."""
        labelled = set(self.get_labeled_images())
        return [uid for uid in self.list_images() if uid not in labelled]

    def get_image_uri(self, image_id: str) -> str:
        """The NIfTI file of a series, which is fetched first where it is not here or has grown; "" if there is none.

        Raises:
            UnavailableError: it is not here, and the archive cannot be reached.
            WssegError: it is not a volume.
        """
        if not _UID.fullmatch(image_id):
            return ""
        with self._fetching.setdefault(image_id, threading.Lock()):
            volume = self._volume(image_id)
            if not volume.exists() or self._has_grown(image_id):
                series = self._pacs.find(image_id)
                if series is None:
                    return ""
                self._fetch(series)
        return str(volume)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Scans reach an archive otherwise.

        Raises:
            WssegError: always.
        """
        raise WssegError(f"{image_id}: send it to the archive {self._pacs.url}, this server only reads scans from it")

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a mask here, and send a finished one to the archive as a new DICOM SEG.

        Raises:
            WssegError: it is not on the series' grid.
            UnavailableError: the archive does not take it now; it is kept and sent later.
        """
        self.get_image_uri(image_id)
        if label_tag != DefaultLabelTag.FINAL:
            return super().save_label(image_id, label_filename, label_tag, label_info)
        seg = self._outbox.new()
        self._write_seg(seg, image_id, Path(label_filename), label_info)
        label = super().save_label(image_id, label_filename, label_tag, label_info)
        self._outbox.send(seg)
        return label

    def _list(self) -> None:
        """Ask what there is; called in a thread of its own but for the first time."""
        with self._listing:
            try:
                found = [series for chosen in _choices(self._filters) for series in self._pacs.series(chosen)]
                self._listed = {series.uid: series for series in found}
            except UnavailableError as error:
                self._failure = error
                logger.warning("the list of series is not up to date: %s", error)
            self._asked = time.monotonic()

    def _has_grown(self, uid: str) -> bool:
        """Whether the archive has received more images since the series was fetched."""
        listed = (self._listed or {}).get(uid)
        return listed is not None and listed.images > len(list((self._folder / uid).glob("*.dcm")))

    def _volume(self, uid: str) -> Path:
        return self._folder / f"{uid}{_EXTENSION}"

    def _fetch(self, series: Series) -> None:
        """Fetch, convert and only then show a series."""
        from wsseg.images.scan import read_any

        started = time.perf_counter()
        part = self._incoming / uuid4().hex
        volume = part.with_suffix(_EXTENSION)
        make_folder(part)
        try:
            self._pacs.fetch(series, part)
            with naming(part, series.uid):
                scan = read_any(part).volume
            write_nifti(volume, scan.voxels, scan.affine)
            shutil.rmtree(self._folder / series.uid, ignore_errors=True)
            part.rename(self._folder / series.uid)
            volume.replace(self._volume(series.uid))
        except OSError as error:
            raise WssegError(f"{series.uid}: cannot be stored here ({error.strerror})") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
            volume.unlink(missing_ok=True)
        self._register(series)
        logger.info("fetched a series in %.1f s", time.perf_counter() - started)

    def _register(self, series: Series) -> None:
        """Tell MONAI Label's list of images what the archive says of a series."""
        facts = {name: str(series.header.get(name) or "UNK") for name in _FACTS}
        info = {"SeriesInstanceUID": series.uid, **facts, "ts": int(time.time()), "name": f"{series.uid}{_EXTENSION}"}
        with FileLock(self._lock_file):
            listed = self._datastore.objects
            labels = listed[series.uid].labels if series.uid in listed else {}
            listed[series.uid] = ImageLabelModel(image=DataModel(info=info, ext=_EXTENSION), labels=labels)
            self._update_datastore_file(lock=False)

    def _write_seg(self, seg: Path, uid: str, file: Path, info: Mapping[str, Any]) -> None:
        from wsseg.images.dicom.seg import write_seg
        from wsseg.images.dicom.series import read_series
        from wsseg.images.segments import Segments

        grid = read_grid(Path(self.get_image_uri(uid)))
        mask = grid.like(read_drawn(file, grid, uid).voxels)
        if "model" in info:
            segments = find_package(info["model"]).segments
        else:
            segments = Segments(self._drawn(info, int(mask.voxels.max())), "wsseg", __version__, edited=True)
        write_seg(seg, mask, read_series(self._folder / uid), segments)

    def _drawn(self, info: Mapping[str, Any], highest: int) -> dict[str, Label]:
        """Classes of a mask that a viewer sends, coded as the models code them."""
        known = {name: label for package in self._packages() for name, label in package.recipe.labels.items()}
        colors = {entry["name"]: entry.get("color") for entry in info.get("label_info") or []}
        names = list(mask_values(info)) or [f"label {value + 1}" for value in range(highest)]
        return {name: known.get(name) or _uncoded(name, colors.get(name)) for name in names}


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


def _forget_interrupted(incoming: Path) -> None:
    """Remove what a killed server left, but not what another process is fetching now."""
    for path in incoming.iterdir():
        if time.time() - path.stat().st_mtime > _ABANDONED:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _cache(url: str) -> Path:
    """Where series are kept: one folder for each archive."""
    above = Path(settings.MONAI_LABEL_DICOMWEB_CACHE_PATH or home() / "archive")
    return above / re.sub(r"[^0-9A-Za-z.-]+", "_", url.partition("://")[2])
