"""Weak labels from files into the store, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsseg.errors import NotFoundError
from wsseg.files import make_folder, whole_file
from wsseg.images.folder import drawn_beside
from wsseg.images.formats import read_grid, write_mask
from wsseg.images.on_grid import read_drawn
from wsseg.images.volume import Volume
from wsseg.labels.space import UNKNOWN, LabelSpace, Presence
from wsseg.labels.store import LabelStore, check_name
from wsseg.labels.tables import PRESENCE_FILE, check_length, read_presence, write_presence


def import_presence(
    store: LabelStore, path: Path, labels: LabelSpace, slices: Mapping[str, int], annotator: str
) -> int:
    """Take over image-level labels from a CSV file, see :func:`wsseg.labels.read_presence`.

    Empty cells change nothing, and states that hold already are not written again.

    Args:
        store: to write to.
        path: the file.
        labels: classes to take over.
        slices: number of slices of every scan that may be listed.
        annotator: whose labels they are.

    Returns:
        The revision.

    Raises:
        WssegError: unreadable, an unknown scan, or more slices than a scan has.
    """
    cases = {}
    for case, listed in read_presence(path, labels).items():
        if case not in slices:
            raise NotFoundError(f"{path}: there is no scan {case}")
        cases[case] = _filled_up(listed, slices[case], case, path)
    return store.fill(cases, labels, annotator)


def export_presence(store: LabelStore, path: Path, labels: LabelSpace, slices: Mapping[str, int]) -> None:
    """Write what :func:`import_presence` reads, for those of the scans that have a label."""
    found = store.presence(slices, labels)
    with whole_file(path) as part:
        write_presence(part, {case: p for case, p in found.items() if (p != UNKNOWN).any()}, labels)


def import_scribbles(store: LabelStore, case: str, path: Path, scan: Volume, labels: LabelSpace, annotator: str) -> int:
    """:meth:`LabelStore.scribble` with a NIfTI or NRRD file on the scan's grid.

    Raises:
        WssegError: unreadable, or on another grid than the scan.
    """
    drawn = read_drawn(path, scan, case)
    return store.scribble(case, drawn.voxels, labels, scan.shape, annotator)


def export_scribbles(store: LabelStore, folder: Path, case: str, scan: Volume, labels: LabelSpace) -> Path:
    """Write ``<case>_scribble.nii.gz`` on the scan's grid.

    Raises:
        NotFoundError: the scan has no scribbles with these classes.
        WssegError: they were drawn on another grid.
    """
    check_name(case, "scan")
    drawn = store.read(case, labels, scan.shape).scribbles
    if drawn is None:
        raise NotFoundError(f"{case}: has no scribbles of {', '.join(labels.names)}")
    path = folder / f"{case}_scribble.nii.gz"
    write_mask(path, scan.like(drawn))
    return path


def _filled_up(listed: Presence, slices: int, case: str, path: Path) -> Presence:
    """Unknown on the slices after the last one that is listed."""
    missing = slices - listed.shape[1]
    if missing < 0:
        check_length(listed, slices, case, path)
    return np.pad(listed, ((0, 0), (0, missing)), constant_values=UNKNOWN)


def import_labels(
    store: LabelStore, source: Path, scans: Mapping[str, Path], labels: LabelSpace, annotator: str
) -> list[str]:
    """Take over ``image_labels.csv`` and ``<case>_scribble`` files of a data folder.

    Args:
        scans: files of the scans that labels are for, by name.

    Returns:
        What was taken over, as file names.

    Raises:
        WssegError: there is nothing, a file is wrong, or its scan is unknown.
    """
    taken = []
    table = source / PRESENCE_FILE
    if table.exists():
        slices = {case: read_grid(file).shape[2] for case, file in scans.items()}
        import_presence(store, table, labels, slices, annotator)
        taken.append(table.name)
    for case, file in scans.items():
        if drawn := drawn_beside(source, case, "scribble"):
            import_scribbles(store, case, drawn, read_grid(file), labels, annotator)
            taken.append(drawn.name)
    if not taken:
        raise NotFoundError(f"{source}: holds no {PRESENCE_FILE} and no <scan>_scribble file of the scans")
    return taken


def export_labels(store: LabelStore, out: Path, scans: Mapping[str, Path], labels: LabelSpace) -> list[str]:
    """Write what :func:`import_labels` reads; returns the file names.

    Raises:
        NotFoundError: no scan has a label of these classes.
    """
    known = {case: summary for case, summary in store.summaries(labels).items() if case in scans}
    marked = [case for case, summary in known.items() if summary.labelled]
    drawn = [case for case, summary in known.items() if summary.scribbles]
    if not marked and not drawn:
        raise NotFoundError(f"no scan has a label of {', '.join(labels.names)}, there is nothing to export")
    make_folder(out)
    written = [export_scribbles(store, out, case, read_grid(scans[case]), labels).name for case in sorted(drawn)]
    if marked:
        slices = {case: read_grid(scans[case]).shape[2] for case in sorted(marked)}
        export_presence(store, out / PRESENCE_FILE, labels, slices)
        written.insert(0, PRESENCE_FILE)
    return written
