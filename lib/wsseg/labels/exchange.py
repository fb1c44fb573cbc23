"""Weak labels from files into the store, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsseg.errors import NotFoundError, WssegError
from wsseg.files import make_folder, whole_file
from wsseg.images.folder import drawn_beside
from wsseg.images.formats.table import read_grid, write_mask
from wsseg.images.on_grid import read_drawn
from wsseg.images.volume import Volume
from wsseg.labels.database.store import LabelStore
from wsseg.labels.drawn.render import DRAWN, drawing_of, drawn_on
from wsseg.labels.identity import ScanIdentity, content_of
from wsseg.labels.marks import (
    BOX_FILE,
    POINT_FILE,
    BoxMark,
    PointMark,
    read_boxes,
    read_points,
    write_boxes,
    write_points,
)
from wsseg.labels.space import UNKNOWN, LabelSpace, Presence, StrokeKind
from wsseg.labels.tables import PRESENCE_FILE, ListedPresence, read_presence, write_presence
from wsseg.labels.values import CORRECTIONS, check_name

NO_CODES: Mapping[int, int] = MappingProxyType({})
"""Voxel values of files mean what ours do."""


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


def import_labels(
    store: LabelStore,
    source: Path,
    files: Files,
    labels: LabelSpace,
    annotator: str,
    codes: Mapping[int, int] = NO_CODES,
) -> Import:
    """Take over labels of a data folder: its tables of presence, boxes and points, strokes and corrections.

    What fits a scan is taken; what names no scan, or slices and grids that a
    scan does not have, is left out and told.

    Args:
        codes: what voxel values of strokes and corrections mean that were drawn
            elsewhere, as {0: 255, 4: 0}; others are as they are.

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
    for kind, ending in DRAWN.items():
        for case in files.scans:
            if drawn := drawn_beside(source, case, ending):
                try:
                    import_scribbles(store, case, drawn, files, labels, annotator, kind, codes)
                    result.taken.append(drawn.name)
                except WssegError as error:
                    result.left_out.append(str(error))
    for name, read in ((BOX_FILE, read_boxes), (POINT_FILE, read_points)):
        if (source / name).exists():
            import_marks(store, read(source / name, labels), source / name, files, labels, annotator, result)
    if not result.taken:
        if result.left_out:
            raise WssegError(f"{source}: nothing could be taken over: {'; '.join(result.left_out)}")
        known = ", ".join((PRESENCE_FILE, BOX_FILE, POINT_FILE))
        endings = " or ".join(f"<scan>_{ending}" for ending in DRAWN.values())
        raise NotFoundError(f"{source}: holds no {known} and no {endings} file of the scans")
    return result


def import_presence(store: LabelStore, path: Path, files: Files, labels: LabelSpace, annotator: str) -> list[str]:
    """Take over image-level labels from a CSV file, see :func:`wsseg.labels.tables.read_presence`, in one write.

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


def import_scribbles(
    store: LabelStore,
    case: str,
    path: Path,
    files: Files,
    labels: LabelSpace,
    annotator: str,
    kind: StrokeKind = "scribbles",
    codes: Mapping[int, int] = NO_CODES,
) -> int:
    """:meth:`LabelStore.scribble` with a NIfTI or NRRD file on the scan's grid; what is drawn so already is left out.

    Args:
        kind, codes: as there and in :func:`import_labels`.

    Raises:
        WssegError: unreadable, or on another grid than the scan.
    """
    scan = files.known_to(store, case)
    grid = read_grid(files.scans[case])
    voxels = translated(read_drawn(path, grid, case).voxels, codes)
    drawn = drawn_on(store.read(scan, labels), grid, labels)
    held = drawn.corrections if kind == CORRECTIONS else drawn.scribbles
    if voxels.any() and np.array_equal(voxels, np.where(voxels != 0, held, 0)):
        return store.revision()
    return store.scribble(scan, voxels, labels, annotator, kind)


def translated(voxels: NDArray[Any], codes: Mapping[int, int]) -> NDArray[Any]:
    """Voxel values of somebody else in ours."""
    found = voxels.copy()
    for theirs, ours in codes.items():
        found[voxels == theirs] = ours
    return found


def import_marks(
    store: LabelStore,
    marks: Mapping[str, Sequence[BoxMark | PointMark]],
    table: Path,
    files: Files,
    labels: LabelSpace,
    annotator: str,
    result: Import,
) -> None:
    """Take over boxes or points of a table, which ``result`` is told; those that are known already are left out."""
    taken = False
    for case, found in marks.items():
        try:
            scan = files.known_to(store, case)
            store.drawings.change(scan, [drawing_of(mark, labels) for mark in found], (), labels, annotator)
            taken = True
        except WssegError as error:
            result.left_out.append(f"{table}: {error}")
    if taken:
        result.taken.append(table.name)


def export_labels(store: LabelStore, out: Path, files: Files, labels: LabelSpace) -> list[str]:
    """Write what :func:`import_labels` reads; returns the file names.

    Raises:
        NotFoundError: no scan has a label of these classes.
    """
    presence: dict[str, ListedPresence] = {}
    boxes: dict[str, Sequence[BoxMark]] = {}
    points: dict[str, Sequence[PointMark]] = {}
    written = []
    known = {*store.contents(), *store.waiting()}
    for case in sorted(known & set(files.scans)):
        scan = files.known_to(store, case)
        found = store.read(scan, labels)
        if (found.presence != UNKNOWN).any():
            presence[case] = ListedPresence(found.presence, scan.axis)
        grid = read_grid(files.scans[case])
        drawn = drawn_on(found, grid, labels)
        boxes |= {case: drawn.boxes} if drawn.boxes else {}
        points |= {case: drawn.points} if drawn.points else {}
        for ending, voxels in drawn.maps.items():
            written.append(_write_drawn(out, f"{case}_{ending}", case, grid.like(voxels)))
    tables: list[tuple[str, Mapping[str, Any], Callable[..., None]]] = [
        (PRESENCE_FILE, presence, write_presence),
        (BOX_FILE, boxes, write_boxes),
        (POINT_FILE, points, write_points),
    ]
    for name, rows, write in tables:
        if rows:
            make_folder(out)
            with whole_file(out / name) as part:
                write(part, rows, labels)
            written.insert(0, name)
    if not written:
        raise NotFoundError(f"no scan has a label of {', '.join(labels.names)}, there is nothing to export")
    return written


def _write_drawn(out: Path, name: str, case: str, drawn: Volume) -> str:
    check_name(case, "scan")
    make_folder(out)
    file = out / f"{name}.nii.gz"
    write_mask(file, drawn)
    return file.name


def _filled_up(listed: ListedPresence, scan: ScanIdentity, path: Path) -> Presence:
    """Unknown on the slices after the last one that is listed."""
    listed.check_axis(scan.axis, scan.name, path)
    missing = scan.slices - listed.states.shape[1]
    if missing < 0:
        return listed.of_scan(scan.slices, scan.axis, scan.name, path)
    return np.pad(listed.states, ((0, 0), (0, missing)), constant_values=UNKNOWN)
