"""What is known of the scans now, written as a data folder that a model is trained on."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import UnavailableError, WssegError
from wsseg.files import make_folder, whole_file
from wsseg.images.formats.table import case_name, write_mask
from wsseg.labels.drawn.render import drawn_on
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.marks import BOX_FILE, POINT_FILE, BoxMark, PointMark, write_boxes, write_points
from wsseg.labels.space import UNKNOWN
from wsseg.labels.tables import PRESENCE_FILE, TEXT_FILE, ListedPresence, write_presence, write_texts
from wsseg.models.package import ModelPackage
from wsseg.server.security.request_log import nameless
from wsseg.server.studies.finished import DRAWN_ON, FinishedMask
from wsseg.server.studies.labels import Labels
from wsseg.server.studies.store import FINAL

logger = logging.getLogger(__name__)


def write_snapshot(labels: Labels, folder: Path, package: ModelPackage) -> int:
    """Write a data folder for training: what is known now, as ``wsseg train --data`` reads it.

    Holds the labelled scans, ``image_labels.csv``, ``boxes.csv``, ``points.csv``,
    ``<scan>_scribble.nii.gz``, ``<scan>_correction.nii.gz``, ``text.csv`` and, of
    scans that somebody finished, ``<scan>_label.nii.gz``.
    A scan that cannot be read is left out with a warning.

    Args:
        labels: of the studies.
        folder: is made.
        package: whose classes are wanted.

    Returns:
        The number of scans.

    Raises:
        WssegError: nothing is labelled, or a file cannot be written.
    """
    make_folder(folder)
    snapshot = _Snapshot(labels, folder, package)
    finished = set(labels.studies.datastore.get_labeled_images())
    for scan in sorted({*labels.contents(), *finished}):
        try:
            identity = labels.identity(scan, package.recipe.axis)
        except UnavailableError:
            raise
        except WssegError as error:
            logger.warning("a scan is left out of training: %s", nameless(error, scan))
            continue
        snapshot.add(identity, scan in finished)
    if not snapshot.scans:
        raise WssegError(f"no scan is labelled with {' or '.join(package.labels.names)} yet, label some first")
    with whole_file(folder / PRESENCE_FILE) as part:
        write_presence(part, snapshot.presence, package.labels)
    with whole_file(folder / TEXT_FILE) as part:
        write_texts(part, snapshot.texts)
    if snapshot.boxes:
        with whole_file(folder / BOX_FILE) as part:
            write_boxes(part, snapshot.boxes, package.labels)
    if snapshot.points:
        with whole_file(folder / POINT_FILE) as part:
            write_points(part, snapshot.points, package.labels)
    return snapshot.scans


class _Snapshot:
    """A data folder that grows by a scan at a time; what people write meanwhile is not seen."""

    def __init__(self, labels: Labels, folder: Path, package: ModelPackage) -> None:
        self.presence: dict[str, ListedPresence] = {}
        self.texts: dict[str, str] = {}
        self.boxes: dict[str, Sequence[BoxMark]] = {}
        self.points: dict[str, Sequence[PointMark]] = {}
        self.scans = 0
        self._labels = labels
        self._folder = folder
        self._classes = package.labels
        self._revision = labels.store.revision()

    def add(self, scan: ScanIdentity, finished: bool) -> None:
        """A scan with all that is known of it, if that is anything."""
        known = self._labels.store.read(scan, self._classes, self._revision)
        if (known.presence != UNKNOWN).any():
            self.presence[scan.name] = ListedPresence(known.presence, scan.axis)
        if known.text is not None:
            self.texts[scan.name] = known.text
        grid = self._labels.studies.grid(scan.name)
        drawn = drawn_on(known, grid, self._classes)
        if drawn.boxes:
            self.boxes[scan.name] = drawn.boxes
        if drawn.points:
            self.points[scan.name] = drawn.points
        mask = self._finished(scan) if finished else None
        maps = drawn.maps | ({} if mask is None else {"label": mask})
        for ending, voxels in maps.items():
            write_mask(self._folder / f"{scan.name}_{ending}.nii.gz", grid.like(voxels))
        if maps or any(scan.name in table for table in (self.presence, self.texts, self.boxes, self.points)):
            path = self._labels.studies.path(scan.name)
            _link(path, self._folder / f"{scan.name}{path.name[len(case_name(path)) :]}")
            self.scans += 1

    def _finished(self, scan: ScanIdentity) -> NDArray[np.uint8] | None:
        """The finished mask of a scan in the voxel values of the classes, where it was drawn on this scan."""
        studies = self._labels.studies
        file = studies.datastore.mask(scan.name, FINAL)
        if file is None:
            return None
        info = studies.datastore.get_label_info(scan.name, FINAL)
        if info.get(DRAWN_ON, scan.content) != scan.content:
            logger.warning("a mask is left out of training: its scan was replaced by another one of the same name")
            return None
        try:
            return FinishedMask.read(scan.name, file, info, studies.grid(scan.name)).of_classes(self._classes)
        except WssegError as error:
            logger.warning("a mask is left out of training: %s", nameless(error, scan.name))
            return None


def _link(scan: Path, place: Path) -> None:
    """Another name for a scan's file, which holds when the first one is removed; else a link to that one."""
    try:
        try:
            os.link(scan, place)
        except OSError:
            place.symlink_to(scan)
    except OSError as error:
        raise WssegError(f"{place}: cannot be written ({error.strerror})") from error
