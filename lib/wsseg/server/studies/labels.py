"""The weak labels as the server knows them: of the scans it serves, shown to MONAI Label's viewers too."""

from __future__ import annotations

import csv
import logging
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsseg.data.kinds import TEXT
from wsseg.errors import UnavailableError, WssegError
from wsseg.files import make_folder, whole_file
from wsseg.images.formats import case_name, check_extension, write_mask
from wsseg.images.on_grid import classes_of, read_drawn
from wsseg.images.volume import SliceGrid, Volume
from wsseg.labels.space import NO, UNKNOWN, YES, LabelSpace, Presence
from wsseg.labels.store import LabelStore, Mark, Scribbles, WeakLabels
from wsseg.labels.tables import PRESENCE_FILE, TEXT_FILE, write_presence
from wsseg.methods.registry import method_class
from wsseg.models.package import ModelPackage
from wsseg.server.security.request_log import nameless
from wsseg.server.studies.store import FINAL
from wsseg.server.studies.studies import Studies

logger = logging.getLogger(__name__)

INFO = "wsseg"
"""The key of the mirror in MONAI Label's image information."""

STATES = {YES: 1, NO: 0, UNKNOWN: None}
"""How presence looks in JSON."""


class Labels:
    """The store, for the scans of the studies alone.

    Every write is checked against the scan it is about, and then shown in MONAI
    Label's image information under ``wsseg``, which is a mirror: nothing reads
    it, and a failure to write it is no failure.

    Args:
        store: the truth.
        studies: the scans.
    """

    def __init__(self, store: LabelStore, studies: Studies) -> None:
        self.store = store
        self.studies = studies
        self._mirroring = threading.Lock()

    def read(self, scan: str, labels: LabelSpace, revision: int | None = None) -> WeakLabels:
        """What is known of a scan, see :meth:`LabelStore.read`.

        Raises:
            NotFoundError: no such scan.
        """
        return self.store.read(scan, labels, self.studies.grid(scan).shape, revision)

    def mark(self, scan: str, marks: Iterable[Mark], package: ModelPackage, annotator: str) -> int:
        """:meth:`LabelStore.mark` with a model's classes.

        Raises:
            WssegError: the model's slices of this scan run along another axis than the third.
        """
        grid = self.studies.grid(scan)
        if not countable(grid, package):
            raise WssegError(
                f"{scan}: its slices do not run along the third stored axis, so they cannot be marked; "
                "it can still be segmented"
            )
        revision = self.store.mark(scan, marks, package.labels, grid.shape[2], annotator)
        self._mirror(scan)
        return revision

    def scribble(self, scan: str, strokes: NDArray[Any], labels: LabelSpace, annotator: str) -> int:
        """:meth:`LabelStore.scribble`."""
        return self.store.scribble(scan, strokes, labels, self.studies.grid(scan).shape, annotator)

    def erase(self, scan: str, index: int, labels: LabelSpace, annotator: str) -> int:
        """:meth:`LabelStore.erase`."""
        return self.store.erase(scan, index, labels, self.studies.grid(scan).shape, annotator)

    def describe(self, scan: str, text: str, annotator: str) -> int:
        """:meth:`LabelStore.describe`."""
        self.studies.path(scan)
        revision = self.store.describe(scan, text, annotator)
        self._mirror(scan)
        return revision

    def told(self, package: ModelPackage, scan: str, text: str = "") -> str:
        """The sentence that a model is told of a scan; "" for models that read none.

        Args:
            package: of the model.
            scan: "" for one that is not of the studies.
            text: given for this once, in place of the one that is known.
        """
        if TEXT not in method_class(package.recipe.method).prompts:
            return ""
        if text or not scan:
            return text
        try:
            return self.store.text(scan) or ""
        except UnavailableError as error:
            logger.warning("a scan is segmented without its sentence (%s)", nameless(error, scan))
            return ""

    def undo(self, revision: int, annotator: str) -> tuple[int, list[str]]:
        """:meth:`LabelStore.undo`, and the scans that the write was about."""
        undone = self.store.undo(revision, annotator)
        touched = self.store.touched(undone)
        for scan in touched:
            self._mirror(scan)
        return undone, touched

    def complete(self, scan: str, mask: FinishedMask, classes: Collection[str], annotator: str) -> int | None:
        """Take over what a complete mask says: present where a class is drawn, unknown elsewhere.

        What was marked absent stays so where nothing is drawn.

        Args:
            scan: on whose grid the mask is.
            mask: as somebody finished it.
            classes: that are taken over.
            annotator: who.

        Returns:
            The revision, None where the mask says nothing new.
        """
        names = tuple(name for name in mask.values if name in classes)
        if not names or SliceGrid.of(self.studies.grid(scan)).stored_axis != 2:
            return None
        drawn = np.stack([(mask.voxels == mask.values[name]).any(axis=(0, 1)) for name in names])
        labels = LabelSpace(names)
        held = self.read(scan, labels).presence
        states = np.where(drawn, YES, np.where(held == YES, UNKNOWN, held))
        marks = [Mark(names[k], index, int(states[k, index])) for k, index in np.argwhere(states != held).tolist()]
        if not marks:
            return None
        revision = self.store.mark(scan, marks, labels, drawn.shape[1], annotator)
        self._mirror(scan)
        return revision

    def read_mask(self, scan: str, file: Path, info: Mapping[str, Any]) -> FinishedMask:
        """Read a finished mask.

        Args:
            scan: that it was drawn on.
            file: the mask; of a PNG the only class may be 255.
            info: with ``label_info`` as 3D Slicer sends it, see :func:`mask_values`.

        Raises:
            WssegError: unreadable, on another grid than the scan, of a type that
                keeps no values (JPEG), or nonsense in ``label_info``.
        """
        check_extension(file)
        drawn, values = read_drawn(file, self.studies.grid(scan), scan), mask_values(info)
        return FinishedMask(classes_of(file, drawn, len(values)), values)

    def snapshot(self, folder: Path, package: ModelPackage) -> int:
        """Write a data folder for training: what is known now, as ``wsseg train --data`` reads it.

        Holds the labelled scans, ``image_labels.csv``, ``<scan>_scribble.nii.gz``,
        ``text.csv`` and, of scans that somebody finished, ``<scan>_label.nii.gz``.

        Args:
            folder: is made.
            package: whose classes are wanted.

        Returns:
            The number of scans.

        Raises:
            WssegError: nothing is labelled, or a file cannot be written.
        """
        revision = self.store.revision()
        make_folder(folder)
        presence: dict[str, Presence] = {}
        texts: dict[str, str] = {}
        written = 0
        labelled = {*self.store.cases(), *self.studies.datastore.get_labeled_images()}
        for scan in sorted(labelled & set(self.studies.names())):
            known = self.read(scan, package.labels, revision)
            if countable(self.studies.grid(scan), package) and (known.presence != UNKNOWN).any():
                presence[scan] = known.presence
            if known.text is not None:
                texts[scan] = known.text
            drawn = self._write_drawn(folder, scan, known.scribbles, package.labels)
            if drawn or scan in presence or scan in texts:
                path = self.studies.path(scan)
                _link(path, folder / f"{scan}{path.name[len(case_name(path)) :]}")
                written += 1
        if not written:
            raise WssegError(f"no scan is labelled with {' or '.join(package.labels.names)} yet, label some first")
        with whole_file(folder / PRESENCE_FILE) as part:
            write_presence(part, presence, package.labels)
        _write_texts(folder / TEXT_FILE, texts)
        return written

    def _write_drawn(self, folder: Path, scan: str, scribbles: Scribbles | None, labels: LabelSpace) -> bool:
        """Write scribbles and finished mask of a scan, if there are any."""
        drawn = {"scribble": scribbles, "label": self._finished_mask(scan, labels)}
        found = {name: voxels for name, voxels in drawn.items() if voxels is not None}
        for name, voxels in found.items():
            write_mask(folder / f"{scan}_{name}.nii.gz", self.studies.grid(scan).like(voxels))
        return bool(found)

    def _finished_mask(self, scan: str, labels: LabelSpace) -> NDArray[np.uint8] | None:
        """The finished mask of a scan in the voxel values of these classes.

        None where it does not name all of them: those that are left out may be anywhere, so 0 would be wrong there.
        """
        store = self.studies.datastore
        file = store.mask(scan, FINAL)
        if file is None:
            return None
        try:
            mask = self.read_mask(scan, file, store.get_label_info(scan, FINAL))
        except WssegError as error:
            logger.warning("a mask is left out of training: %s", nameless(error, scan))
            return None
        if not set(labels.names) <= set(mask.values):
            return None
        voxels = np.zeros(mask.voxels.shape, np.uint8)
        for name in labels.names:
            voxels[mask.voxels == mask.values[name]] = labels.value(name)
        return voxels

    def _mirror(self, scan: str) -> None:
        """Show MONAI Label's clients what is known of a scan."""
        try:
            slices = self.studies.grid(scan).shape[2]
            names = self.store.classes(scan)
            shown: dict[str, Any] = {"presence": {}, "text": self.store.text(scan)}
            if names:
                presence = self.store.presence({scan: slices}, LabelSpace(tuple(names)))[scan]
                shown["presence"] = {name: states_json(row) for name, row in zip(names, presence, strict=True)}
            with self._mirroring:
                self.studies.datastore.update_image_info(scan, {INFO: shown})
        except Exception as error:  # whatever a datastore raises, the label itself is stored
            logger.warning(
                "labels are stored, but MONAI Label's copy of them is not up to date (%s)", nameless(error, scan)
            )


@dataclass(frozen=True)
class FinishedMask:
    """A complete mask as a viewer sends it.

    Attributes:
        voxels: (x, y, slice).
        values: voxel value of each class by name.
    """

    voxels: NDArray[Any]
    values: dict[str, int]


def mask_values(info: Mapping[str, Any]) -> dict[str, int]:
    """Voxel values of a mask by name, from ``label_info`` of the request that brought it.

    3D Slicer exports segments as 1, 2, ... in their order, but counts all segments in
    ``idx``, those that it does not export too: so the order of ``idx`` counts, not its value.

    Raises:
        WssegError: not a list of objects with a ``name`` each.
    """
    given = info.get("label_info") or []
    if not isinstance(given, list) or not all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in given):
        raise WssegError('label_info: must be a list like [{"name": "tumor", "idx": 1}]')
    places = [e.get("idx", place) for place, e in enumerate(given)]
    if not all(isinstance(place, int) for place in places):
        raise WssegError("label_info: idx must be a whole number")
    order = sorted(range(len(given)), key=lambda place: places[place])
    return {given[place]["name"]: value + 1 for value, place in enumerate(order)}


def states_json(row: NDArray[np.int8]) -> list[int | None]:
    """States of one class, 1, 0 or None for each slice."""
    return [STATES[state] for state in row.tolist()]


def countable(grid: Volume, package: ModelPackage) -> bool:
    """Whether a model's slices of a scan run along the axis that presence counts along."""
    return SliceGrid.of(grid, package.recipe.axis).stored_axis == 2


def _link(scan: Path, place: Path) -> None:
    """Another name for a scan's file, which holds when the first one is removed; else a link to that one."""
    try:
        try:
            os.link(scan, place)
        except OSError:
            place.symlink_to(scan)
    except OSError as error:
        raise WssegError(f"{place}: cannot be written ({error.strerror})") from error


def _write_texts(path: Path, texts: Mapping[str, str]) -> None:
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("case", "text"), *texts.items()])
