"""Weak labels from files into the store, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import make_folder, whole_file
from wsseg.images.folder import drawn_beside
from wsseg.images.formats import read_grid, write_mask
from wsseg.images.on_grid import read_drawn
from wsseg.images.volume import Volume
from wsseg.labels.identity import ScanIdentity, content_of
from wsseg.labels.space import UNKNOWN, LabelSpace, Presence
from wsseg.labels.store import LabelStore
from wsseg.labels.tables import PRESENCE_FILE, ListedPresence, read_presence, write_presence
from wsseg.labels.values import check_name


@dataclass(frozen=True)
class Files:
    """Scans as files, whose labels come and go.

    Attributes:
        scans: by name.
        default_axis: of their slices where spacing does not tell, see :class:`SliceGrid`.
    """

    scans: Mapping[str, Path]
    default_axis: int = 2

    def identity(self, case: str) -> ScanIdentity:
        """Of one scan, whose voxels are read for it the first time.

        Raises:
            NotFoundError: there is none of that name.
            WssegError: unreadable.
        """
        if case not in self.scans:
            raise NotFoundError(f"there is no scan {case}")
        return ScanIdentity.of(case, self.scans[case], self.default_axis)

    def known_to(self, store: LabelStore, case: str) -> ScanIdentity:
        """:meth:`identity`, once the store has given the scan what it kept by another name; raises the same."""
        scan = self.identity(case)
        store.adopt(scan, lambda name: name in self.scans and content_of(self.scans[name]) == scan.content)
        return scan


@dataclass
class Import:
    """What became of files of labels.

    Attributes:
        taken: names of the files that labels were taken from.
        left_out: a sentence about each thing that fits no scan.
    """

    taken: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def import_labels(store: LabelStore, source: Path, files: Files, labels: LabelSpace, annotator: str) -> Import:
    """Take over ``image_labels.csv`` and ``<case>_scribble`` files of a data folder.

    What fits a scan is taken; what names no scan, or slices and grids that a
    scan does not have, is left out and told.

    Raises:
        NotFoundError: the folder holds no labels of the scans at all.
        WssegError: the table cannot be read, or nothing fits.
    """
    result = Import()
    table = source / PRESENCE_FILE
    if table.exists():
        left_out = import_presence(store, table, files, labels, annotator)
        result.left_out += left_out
        if len(left_out) < len(read_presence(table, labels)):
            result.taken.append(table.name)
    for case in files.scans:
        if drawn := drawn_beside(source, case, "scribble"):
            try:
                import_scribbles(store, case, drawn, files, labels, annotator)
                result.taken.append(drawn.name)
            except WssegError as error:
                result.left_out.append(str(error))
    if not result.taken:
        if result.left_out:
            raise WssegError(f"{source}: nothing could be taken over: {'; '.join(result.left_out)}")
        raise NotFoundError(f"{source}: holds no {PRESENCE_FILE} and no <scan>_scribble file of the scans")
    return result


def import_presence(store: LabelStore, path: Path, files: Files, labels: LabelSpace, annotator: str) -> list[str]:
    """Take over image-level labels from a CSV file, see :func:`wsseg.labels.read_presence`, in one write.

    Empty cells change nothing, and states that hold already are not written again.

    Args:
        store: to write to.
        path: the file.
        files: the scans.
        labels: classes to take over.
        annotator: whose labels they are.

    Returns:
        A sentence about each case that was left out: there is no such scan, it
        has fewer slices, or they run along another axis.

    Raises:
        WssegError: the file cannot be read.
    """
    fitting: dict[ScanIdentity, Presence] = {}
    left_out = []
    for case, listed in read_presence(path, labels).items():
        try:
            scan = files.known_to(store, case)
            fitting[scan] = _filled_up(listed, scan, path)
        except WssegError as error:
            left_out.append(str(error))
    store.fill(fitting, labels, annotator)
    return left_out


def import_scribbles(store: LabelStore, case: str, path: Path, files: Files, labels: LabelSpace, annotator: str) -> int:
    """:meth:`LabelStore.scribble` with a NIfTI or NRRD file on the scan's grid.

    Raises:
        WssegError: unreadable, or on another grid than the scan.
    """
    scan = files.known_to(store, case)
    return store.scribble(scan, read_drawn(path, read_grid(files.scans[case]), case).voxels, labels, annotator)


def export_labels(store: LabelStore, out: Path, files: Files, labels: LabelSpace) -> list[str]:
    """Write what :func:`import_labels` reads; returns the file names.

    Raises:
        NotFoundError: no scan has a label of these classes.
    """
    presence: dict[str, ListedPresence] = {}
    written = []
    known = {*store.contents(), *store.waiting()}
    for case in sorted(known & set(files.scans)):
        scan = files.known_to(store, case)
        found = store.read(scan, labels)
        if (found.presence != UNKNOWN).any():
            presence[case] = ListedPresence(found.presence, scan.axis)
        if found.scribbles is not None:
            written.append(_write_scribbles(out, case, read_grid(files.scans[case]).like(found.scribbles)))
    if presence:
        make_folder(out)
        with whole_file(out / PRESENCE_FILE) as part:
            write_presence(part, presence, labels)
        written.insert(0, PRESENCE_FILE)
    if not written:
        raise NotFoundError(f"no scan has a label of {', '.join(labels.names)}, there is nothing to export")
    return written


def _write_scribbles(out: Path, case: str, drawn: Volume) -> str:
    check_name(case, "scan")
    make_folder(out)
    file = out / f"{case}_scribble.nii.gz"
    write_mask(file, drawn)
    return file.name


def _filled_up(listed: ListedPresence, scan: ScanIdentity, path: Path) -> Presence:
    """Unknown on the slices after the last one that is listed."""
    listed.check_axis(scan.axis, scan.name, path)
    missing = scan.slices - listed.states.shape[1]
    if missing < 0:
        return listed.of_scan(scan.slices, scan.axis, scan.name, path)
    return np.pad(listed.states, ((0, 0), (0, missing)), constant_values=UNKNOWN)
