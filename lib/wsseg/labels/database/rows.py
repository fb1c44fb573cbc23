"""Labels as rows of the database, whatever their kind: found, written, counted, undone, adopted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from wsseg.errors import NotFoundError, WssegError
from wsseg.labels.database.schema import labels, scans, writes
from wsseg.labels.identity import ScanIdentity
from wsseg.labels.project import Project
from wsseg.labels.space import WHOLE, About, AboutKind
from wsseg.labels.values import unpack_voxels


@dataclass(frozen=True)
class ScanRow:
    """A scan that labels were given for; ``content`` is "" where no project has them yet."""

    id: int
    name: str
    content: str


def revision_of(connection: sa.Connection) -> int:
    """Of the last write, 0 if there was none."""
    return connection.scalar(sa.select(sa.func.max(writes.c.serial))) or 0


def find_scan(connection: sa.Connection, project: str, scan: ScanIdentity) -> int | None:
    """The id of a scan that has labels in a project."""
    found = sa.select(scans.c.id).filter_by(project=project, content=scan.content, name=scan.name)
    return connection.scalar(found)


def find_or_add_scan(connection: sa.Connection, project: str, scan: ScanIdentity) -> int:
    """The id of a scan in a project."""
    found = find_scan(connection, project, scan)
    if found is not None:
        return found
    new = sa.insert(scans).values(project=project, content=scan.content, name=scan.name)
    return int(connection.execute(new.returning(scans.c.id)).scalar_one())


def scans_of(connection: sa.Connection, project: str) -> list[ScanRow]:
    """All that labels were ever given for in a project, by name."""
    rows = sa.select(scans.c.id, scans.c.name, scans.c.content).filter_by(project=project)
    return [ScanRow(*row) for row in connection.execute(rows.order_by(scans.c.name, scans.c.id))]


def follow(connection: sa.Connection, project: Project) -> None:
    """Give a folder its labels that were known by its address, before an identity could be kept in it."""
    moved = sa.update(scans).where(scans.c.project == project.address, scans.c.project != project.id)
    connection.execute(moved.values(project=project.id))


def names_without_project(connection: sa.Connection) -> set[str]:
    """Of scans whose labels no project has."""
    return set(connection.scalars(sa.select(scans.c.name).where(scans.c.project.is_(None))))


def names_in(connection: sa.Connection, project: str, revision: int) -> set[str]:
    """Of a project's scans that a write was about."""
    names = sa.select(scans.c.name).join(labels, labels.c.scan == scans.c.id)
    return set(connection.scalars(names.where(labels.c.serial == revision, scans.c.project == project)))


def newest(
    connection: sa.Connection, scan: int | None, kind: AboutKind, revision: int, axis: int = WHOLE
) -> dict[About, bytes]:
    """What holds at a revision of one kind, of the whole scan or along an axis; what was taken away is left out."""
    if scan is None:
        return {}
    c = labels.c
    rows = sa.select(c.label, c.slice, c.value).where(c.scan == scan, c.kind == kind, c.axis == axis)
    found = {
        About(kind, label, axis, index): value
        for label, index, value in connection.execute(rows.where(c.serial <= revision).order_by(c.id))
    }
    return {about: value for about, value in found.items() if value is not None}


def new_write(connection: sa.Connection, annotator: str) -> int:
    """The serial of a write that begins now."""
    new = sa.insert(writes).values(annotator=annotator, time=datetime.now(UTC))
    return int(connection.execute(new.returning(writes.c.serial)).scalar_one())


def append(connection: sa.Connection, given: Mapping[int, Mapping[About, bytes | None]], annotator: str) -> int:
    """Write labels of scans; None takes one away. Returns the serial."""
    serial = new_write(connection, annotator)
    rows = [
        {"scan": scan, "serial": serial, "value": value, **asdict(about)}
        for scan, values in given.items()
        for about, value in values.items()
    ]
    connection.execute(sa.insert(labels), rows)
    return serial


def held(project: str, *conditions: sa.ColumnElement[bool]) -> sa.Subquery:
    """Rows of a project's labels of any scan that hold now: no newer one is about the same."""
    c = labels.c
    mine = sa.select(sa.func.max(c.id)).join(scans, scans.c.id == c.scan).where(scans.c.project == project, *conditions)
    last = mine.group_by(c.scan, c.kind, c.label, c.axis, c.slice)
    return sa.select(labels).where(c.id.in_(last), c.value.is_not(None)).subquery()


def marked_slices(connection: sa.Connection, project: str, names: Collection[str]) -> dict[int, int]:
    """Number of slices, of each scan that has any, on which a state of one of the classes is known."""
    rows = held(project, labels.c.kind == "presence", labels.c.label.in_(names))
    place = sa.cast(rows.c.axis, sa.Integer) * 1_000_000 + rows.c.slice
    counted = sa.select(rows.c.scan, sa.func.count(place.distinct())).group_by(rows.c.scan)
    return {scan: int(count) for scan, count in connection.execute(counted)}


def scans_with(connection: sa.Connection, project: str, kind: AboutKind, label: str = "") -> set[int]:
    """Scans with a label of a kind."""
    rows = held(project, labels.c.kind == kind, labels.c.label == label)
    return set(connection.scalars(sa.select(rows.c.scan)))


def counted(connection: sa.Connection, project: str, kind: AboutKind) -> dict[int, int]:
    """Number of labels of a kind, of each scan that has any."""
    rows = held(project, labels.c.kind == kind)
    found = connection.execute(sa.select(rows.c.scan, sa.func.count()).group_by(rows.c.scan))
    return {scan: int(count) for scan, count in found}


def last_writes(connection: sa.Connection, project: str) -> dict[int, tuple[str, datetime]]:
    """Annotator and time, in UTC, of the last write about each scan."""
    each = sa.select(labels.c.scan, sa.func.max(labels.c.serial).label("serial")).group_by(labels.c.scan).subquery()
    rows = sa.select(each.c.scan, writes.c.annotator, writes.c.time)
    rows = rows.join(writes, writes.c.serial == each.c.serial).join(scans, scans.c.id == each.c.scan)
    found = connection.execute(rows.where(scans.c.project == project))
    return {scan: (annotator, utc(time)) for scan, annotator, time in found}


def utc(time: datetime) -> datetime:
    """A time as it was read, since SQLite keeps no time zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def undo(connection: sa.Connection, project: str, revision: int, annotator: str) -> int:
    """Append what held before a write of all that it was about; see :meth:`LabelStore.undo`."""
    rows = sa.select(labels.c.id).join(scans, scans.c.id == labels.c.scan)
    # A number that no write has may be larger than a database can compare with.
    known = connection.scalar(sa.select(sa.func.max(writes.c.serial))) or 0
    mine = rows.where(labels.c.serial == revision, scans.c.project == project).limit(1)
    if not 0 < revision <= known or connection.scalar(mine) is None:
        raise NotFoundError(f"labels: there is no write {revision} to undo")
    _check_own(connection, revision, annotator)
    serial = new_write(connection, annotator)
    undone, before = labels.alias(), labels.alias()
    earlier = (
        sa.select(before.c.value)
        .where(_same(undone, before), before.c.id < undone.c.id, before.c.serial < revision)
        .order_by(before.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    about = ["scan", "kind", "label", "axis", "slice"]
    chosen = sa.select(*(undone.c[name] for name in about), sa.literal(serial), earlier)
    chosen = chosen.where(undone.c.serial == revision).order_by(undone.c.id)
    connection.execute(sa.insert(labels).from_select([*about, "serial", "value"], chosen))
    return serial


def orphans(connection: sa.Connection, project: str, scan: ScanIdentity) -> list[ScanRow]:
    """Rows whose labels may be a scan's that has none: of the same content by another name, or of no project yet."""
    if find_scan(connection, project, scan) is not None:
        return []
    same = sa.and_(scans.c.project == project, scans.c.content == scan.content)
    older = sa.and_(scans.c.project.is_(None), scans.c.name == scan.name)
    rows = sa.select(scans.c.id, scans.c.name, sa.func.coalesce(scans.c.content, "")).where(sa.or_(same, older))
    found = [ScanRow(*row) for row in connection.execute(rows.order_by(scans.c.id))]
    return [row for row in found if row.content or _fits(connection, row.id, scan)]


def adopt(connection: sa.Connection, project: str, scan: ScanIdentity, row: int) -> None:
    """Make a row that of a scan."""
    owned = sa.update(scans).where(scans.c.id == row)
    connection.execute(owned.values(project=project, content=scan.content, name=scan.name))


def _fits(connection: sa.Connection, found: int, scan: ScanIdentity) -> bool:
    """Whether all slices and grids that labels name are the scan's."""
    c = labels.c
    last = connection.scalar(sa.select(sa.func.max(c.slice)).where(c.scan == found, c.kind == "presence"))
    packed = connection.scalars(sa.select(c.value).where(c.scan == found, c.kind == "scribbles", c.value.is_not(None)))
    return (last is None or last < scan.shape[2]) and all(unpack_voxels(each).shape == scan.shape for each in packed)


def _check_own(connection: sa.Connection, revision: int, annotator: str) -> None:
    """Refuse to undo a write of somebody else, or one that somebody else has written over."""
    author = connection.scalar(sa.select(writes.c.annotator).where(writes.c.serial == revision))
    if author != annotator:
        raise WssegError(f"labels: write {revision} is of {author}, who alone can undo it")
    undone, later = labels.alias(), labels.alias()
    others = (
        sa.select(scans.c.name, writes.c.annotator)
        .join_from(undone, later, _same(undone, later))
        .join(writes, writes.c.serial == later.c.serial)
        .join(scans, scans.c.id == later.c.scan)
        .where(undone.c.serial == revision, later.c.serial > revision, writes.c.annotator != annotator)
    )
    if found := connection.execute(others.limit(1)).first():
        raise WssegError(f"{found.name}: {found.annotator} has written over this since, it cannot be undone")


def _same(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether two rows are about the same thing."""
    return sa.and_(*(one.c[name] == other.c[name] for name in ("scan", "kind", "label", "axis", "slice")))
