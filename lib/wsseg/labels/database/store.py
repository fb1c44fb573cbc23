"""Weak labels of a project's scans in one database: what was given, by whom and when.

Nothing is ever changed or deleted. Every label is a row, the newest row about a
thing is its state, and every call that writes gets the next revision: what was
known at an earlier revision can be read for ever.

Labels belong to a project and to the content of a scan. Another folder with a
scan of the same name has labels of its own; a scan that is replaced under its
name is another one, whose predecessor's labels are kept and come back with it;
one that is renamed keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from wsseg.errors import WssegError
from wsseg.files import make_folder
from wsseg.labels.database import rows
from wsseg.labels.database.connection import Database
from wsseg.labels.drawn.drawing import KIND
from wsseg.labels.drawn.kept import Drawings, held
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import WHOLE, About, AboutKind, LabelSpace, Presence, StrokeKind
from wsseg.labels.values import (
    CORRECTIONS,
    Mark,
    Summary,
    WeakLabels,
    check_marks,
    check_name,
    check_scribbles,
    check_text,
    drawn_with,
    new_states,
    pack_voxels,
    unpack_presence,
    unpack_scribbles,
    unpack_text,
)

FILE = "labels.sqlite3"
"""The database in the work directory."""


class LabelStore:
    """The weak labels of one project in a database that any number of projects, threads and processes may share.

    A call that writes is one transaction: when it has returned its revision the
    rows are on disk, and when it raises nothing has been written. What format 1
    knew by names alone is shown nowhere until :meth:`adopt` gives it to a project.

    Args:
        url: of any database that SQLAlchemy knows, with ``sqlite:///<file>`` and
            ``postgresql://<user>@<host>/<database>`` being tested.
        project: whose labels are read and written; all others are invisible.

    Raises:
        UnavailableError: the database cannot be reached; every call may raise it.
        WssegError: it is of another version.
    """

    def __init__(self, url: str | sa.URL, project: Project) -> None:
        self.project = project
        self._database = Database(url)
        self.drawings = Drawings(self._database, project)
        with self._database.writing() as connection:
            rows.follow(connection, project)

    @classmethod
    def at(cls, home: Path, project: Project) -> LabelStore:
        """The store in a work directory."""
        make_folder(home)
        return cls(address_in(home), project)

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    @property
    def writes(self) -> int:
        """Another number after every write of this process, in any project; the database is not asked."""
        return self._database.writes

    def revision(self) -> int:
        """Of the last write in any project, 0 if there was none; every write has a higher one than those before it."""
        with self._database.reading() as connection:
            return rows.revision_of(connection)

    def contents(self) -> dict[str, list[str]]:
        """What the scans contain that any label was ever given for, by name, the newest last."""
        found: dict[str, list[str]] = {}
        with self._database.reading() as connection:
            for scan in rows.scans_of(connection, self.project.id):
                found.setdefault(scan.name, []).append(scan.content)
        return found

    def waiting(self) -> set[str]:
        """Names of scans whose labels are older than projects, and were not adopted by any."""
        with self._database.reading() as connection:
            return rows.names_without_project(connection)

    def summaries(self, labels: LabelSpace) -> dict[tuple[str, str], Summary]:
        """How far each scan of :meth:`contents` is labelled with these classes, by name and content."""
        project = self.project.id
        with self._database.reading() as connection:
            marked = rows.marked_slices(connection, project, labels.names)
            drawn = rows.scans_with(connection, project, "scribbles", drawn_with(labels).label)
            pictures = rows.counted(connection, project, KIND)
            described = rows.scans_with(connection, project, "text")
            last = rows.last_writes(connection, project)
            return {
                (scan.name, scan.content): Summary(
                    marked.get(scan.id, 0),
                    scan.id in drawn,
                    pictures.get(scan.id, 0),
                    scan.id in described,
                    *last[scan.id],
                )
                for scan in rows.scans_of(connection, project)
            }

    def classes(self, scan: ScanIdentity) -> list[str]:
        """Names of the classes that presence is known of for a scan, sorted."""
        return sorted({about.label for about in self._labels(scan, "presence", scan.axis)})

    def text(self, scan: ScanIdentity) -> str | None:
        """The text of :meth:`read` alone."""
        return unpack_text(self._labels(scan, "text"))

    def touched(self, revision: int) -> list[str]:
        """Names of the scans that a write was about, sorted."""
        with self._database.reading() as connection:
            return sorted(rows.names_in(connection, self.project.id, revision))

    def read(self, scan: ScanIdentity, labels: LabelSpace, revision: int | None = None) -> WeakLabels:
        """The labels of one scan, all unknown if none were given.

        Args:
            scan: it; presence is that of the slices along its axis.
            labels: classes wanted; presence of others is left out, and the maps are
                those drawn with exactly these classes on offer.
            revision: what was known then, else now. With one revision for all
                scans a trainer sees one state, whoever writes meanwhile.
        """
        with self._database.reading() as connection:
            known = rows.revision_of(connection) if revision is None else revision
            found = rows.find_scan(connection, self.project.id, scan)
            return WeakLabels(
                presence=unpack_presence(rows.newest(connection, found, "presence", known, scan.axis), scan, labels),
                scribbles=unpack_scribbles(rows.newest(connection, found, "scribbles", known), labels),
                text=unpack_text(rows.newest(connection, found, "text", known)),
                corrections=unpack_scribbles(rows.newest(connection, found, CORRECTIONS, known), labels, CORRECTIONS),
                drawings=() if found is None else tuple(held(connection, found, scan.axis, known)),
            )

    def mark(self, scan: ScanIdentity, marks: Iterable[Mark], labels: LabelSpace, annotator: str) -> int:
        """Say on which slices, along the scan's axis, classes are present, absent or unknown.

        Returns:
            The revision.

        Raises:
            WssegError: no mark, the same class and slice twice, an unknown class
                or state, or a slice that the scan does not have.
        """
        return self._write(scan, check_marks(scan, marks, labels), annotator)

    def scribble(
        self,
        scan: ScanIdentity,
        voxels: NDArray[Any],
        labels: LabelSpace,
        annotator: str,
        kind: StrokeKind = "scribbles",
    ) -> int:
        """Lay scribbles over the earlier ones of a scan; nonzero voxels win.

        A map that changes nothing is not written again: viewers send all strokes every time.

        Args:
            scan: it.
            voxels: as in :data:`Scribbles`, any real type.
            labels: classes on offer when it was drawn.
            annotator: who drew it.
            kind: "scribbles", or "corrections" of a mask.

        Returns:
            The revision.

        Raises:
            WssegError: another shape than the scan's, a value that is no class,
                or nothing drawn.
        """
        check_scribbles(scan, voxels, labels)
        with self._writing(scan, annotator) as (connection, row):
            known = rows.revision_of(connection)
            before = unpack_scribbles(rows.newest(connection, row, kind, known), labels, kind)
            merged = np.where(voxels != 0, voxels, 0 if before is None else before).astype(np.uint8)
            if before is not None and np.array_equal(merged, before):
                return known
            return rows.append(connection, {row: {drawn_with(labels, kind): pack_voxels(merged)}}, annotator)

    def erase(self, scan: ScanIdentity, index: int, labels: LabelSpace, annotator: str) -> int:
        """Take away all that is drawn on one slice, along the scan's axis: drawings, and maps of exactly these classes.

        Returns:
            The revision.

        Raises:
            WssegError: there are none.
        """
        with self._writing(scan, annotator) as (connection, row):
            known = rows.revision_of(connection)
            drawings = held(connection, row, scan.axis, known)
            gone: dict[About, bytes | None] = {
                each.drawing.about: None for each in drawings if each.drawing.slice == index
            }
            kinds: tuple[StrokeKind, ...] = ("scribbles", CORRECTIONS)
            for kind in kinds:
                voxels = unpack_scribbles(rows.newest(connection, row, kind, known), labels, kind)
                if voxels is None or not 0 <= index < scan.slices:
                    continue
                plane = np.moveaxis(voxels, scan.axis, 0)[index]
                if plane.any():
                    plane[:] = 0
                    gone[drawn_with(labels, kind)] = pack_voxels(voxels)
            if not gone:
                raise WssegError(f"{scan.name}, slice {index}: nothing is drawn, there is nothing to erase")
            return rows.append(connection, {row: gone}, annotator)

    def describe(self, scan: ScanIdentity, text: str, annotator: str) -> int:
        """Give a sentence of the report, in place of an earlier one; an empty one only takes that away.

        Returns:
            The revision.

        Raises:
            WssegError: longer than 2000 characters, or with control characters.
        """
        stripped = check_text(scan.name, text)
        return self._write(scan, {About("text"): stripped.encode() or None}, annotator)

    def fill(self, presence: Mapping[ScanIdentity, Presence], labels: LabelSpace, annotator: str) -> int:
        """Take over states of many scans in one write.

        Unknown changes nothing, and states that hold already are not written again.

        Args:
            presence: (classes, slices) by scan, for all slices that it has.
            labels: the classes.
            annotator: whose labels they are.

        Returns:
            The revision.
        """
        with self._database.writing() as connection:
            known = rows.revision_of(connection)
            given: dict[int, dict[About, bytes | None]] = {}
            for scan, states in presence.items():
                check_name(scan.name, "scan")
                found = rows.find_scan(connection, self.project.id, scan)
                old = unpack_presence(rows.newest(connection, found, "presence", known, scan.axis), scan, labels)
                if new := new_states(scan, states, old, labels):
                    given.setdefault(rows.find_or_add_scan(connection, self.project.id, scan), {}).update(new)
            check_name(annotator, "annotator")
            return rows.append(connection, given, annotator) if given else known

    def undo(self, revision: int, annotator: str) -> int:
        """Bring back, as a new write, what was known before a write of all that it touched.

        Returns:
            The new revision.

        Raises:
            NotFoundError: there is no such write in this project.
            WssegError: it is somebody else's, or somebody else has written over it since.
        """
        check_name(annotator, "annotator")
        with self._database.writing() as connection:
            return rows.undo(connection, self.project.id, revision, annotator)

    def adopt(self, scan: ScanIdentity, is_there: Callable[[str], bool]) -> str | None:
        """Give a scan without labels those that are its own, though they were kept otherwise.

        Either it was renamed: labels of the same content by a name that now has
        another content, or none. Or they are older than projects, when a scan's
        name was all that was known. Nobody knows any more in which folder those
        were given; they go, once and as a whole, to the first project that works
        on a scan of that name, if every slice and grid that they name fits it.
        Those that do not fit wait, in the database, for a scan that does.

        Args:
            scan: it.
            is_there: whether a scan of that name and this content is there too,
                and so keeps its labels.

        Returns:
            The name that the labels were kept by, None where there were none.
        """
        project = self.project.id
        with self._database.reading() as connection:
            found = rows.orphans(connection, project, scan)
        if not any(not row.content or not is_there(row.name) for row in found):
            return None
        with self._database.writing() as connection:
            for row in rows.orphans(connection, project, scan):
                if not row.content or not is_there(row.name):
                    rows.adopt(connection, project, scan, row.id)
                    return row.name
        return None

    def _labels(self, scan: ScanIdentity, kind: AboutKind, axis: int = WHOLE) -> dict[About, bytes]:
        with self._database.reading() as connection:
            row = rows.find_scan(connection, self.project.id, scan)
            return rows.newest(connection, row, kind, rows.revision_of(connection), axis)

    def _write(self, scan: ScanIdentity, values: Mapping[About, bytes | None], annotator: str) -> int:
        with self._writing(scan, annotator) as (connection, row):
            return rows.append(connection, {row: values}, annotator)

    @contextmanager
    def _writing(self, scan: ScanIdentity, annotator: str) -> Iterator[tuple[sa.Connection, int]]:
        """A transaction about one scan, and its row."""
        check_name(scan.name, "scan")
        check_name(annotator, "annotator")
        with self._database.writing() as connection:
            yield connection, rows.find_or_add_scan(connection, self.project.id, scan)


def address_in(home: Path) -> sa.URL:
    """The database of a work directory."""
    return sa.URL.create("sqlite", database=str(home / FILE))
