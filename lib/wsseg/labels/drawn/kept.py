"""Drawings in the database: each a row of its own, so that no two people write over each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from wsseg.errors import WssegError
from wsseg.labels.database import rows
from wsseg.labels.database.connection import Database
from wsseg.labels.database.schema import labels, writes
from wsseg.labels.drawn.drawing import KIND, Drawing, Drawn, check_drawings
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import About, LabelSpace
from wsseg.labels.values import check_name


class Drawings:
    """The drawings of one project's scans.

    Args:
        database: with all labels.
        project: whose are read and written.
    """

    def __init__(self, database: Database, project: Project) -> None:
        self._database = database
        self._project = project.id

    def change(
        self,
        scan: ScanIdentity,
        drawings: Sequence[Drawing],
        removed: Iterable[str],
        labels: LabelSpace,
        annotator: str,
    ) -> int:
        """Add drawings and take others away, in one write that is undone as one.

        What is kept already is not written again: a client whose answer was lost sends the same once more.

        Returns:
            The revision; that of the earlier write where nothing is new.

        Raises:
            WssegError: a drawing is none of the scan, see :func:`check_drawings`,
                or one to be removed is not there.
        """
        check_drawings(scan, drawings, labels)
        check_name(annotator, "annotator")
        with self._database.writing() as connection:
            row = rows.find_or_add_scan(connection, self._project, scan)
            latest = _latest(connection, row)
            new = {each.about: each.model_dump_json().encode() for each in drawings if each.id not in latest}
            gone = [_known(latest, each, scan) for each in removed]
            values: dict[About, bytes | None] = {**new, **{each.about: None for each in gone if each.held}}
            if not values:
                same = [latest[each.id] for each in drawings] + gone
                if not same:
                    raise WssegError(f"{scan.name}: nothing is drawn")
                return max(each.serial for each in same)
            return rows.append(connection, {row: values}, annotator)

    def of(self, scan: ScanIdentity, revision: int | None = None) -> list[Drawn]:
        """Those on the slices along a scan's axis, as they were drawn one after the other.

        Args:
            revision: what was known then, else now.
        """
        with self._database.reading() as connection:
            row = rows.find_scan(connection, self._project, scan)
            known = rows.revision_of(connection) if revision is None else revision
            return [] if row is None else held(connection, row, scan.axis, known)


def held(connection: sa.Connection, row: int, axis: int, revision: int) -> list[Drawn]:
    """Drawings along an axis of a scan that hold at a revision, the oldest first."""
    c = labels.c
    chosen = sa.select(c.label, c.value, writes.c.annotator, writes.c.time, c.serial)
    chosen = chosen.join(writes, writes.c.serial == c.serial)
    chosen = chosen.where(c.scan == row, c.kind == KIND, c.axis == axis, c.serial <= revision).order_by(c.id)
    newest = {each.label: each for each in connection.execute(chosen)}
    return [
        Drawn(Drawing.model_validate_json(each.value), each.annotator, rows.utc(each.time), each.serial)
        for each in newest.values()
        if each.value is not None
    ]


class _Latest:
    """The newest row of a drawing."""

    def __init__(self, about: About, serial: int, held: bool) -> None:
        self.about = about
        self.serial = serial
        self.held = held


def _latest(connection: sa.Connection, row: int) -> dict[str, _Latest]:
    """The newest row of every drawing of a scan, by id."""
    c = labels.c
    chosen = sa.select(c.label, c.axis, c.slice, c.serial, c.value.is_not(None).label("held"))
    found = connection.execute(chosen.where(c.scan == row, c.kind == KIND).order_by(c.id))
    return {
        each.label: _Latest(About(KIND, each.label, each.axis, each.slice), each.serial, each.held) for each in found
    }


def _known(latest: dict[str, _Latest], id: str, scan: ScanIdentity) -> _Latest:
    if id not in latest:
        raise WssegError(f"{scan.name}: there is no drawing {id[:64]} to remove")
    return latest[id]
