"""Weak labels of all scans in one database: what was given, by whom and when.

Nothing is ever changed or deleted. Every label is a row, the newest row of a
thing is its state, and every call that writes gets the next revision: what was
known at an earlier revision can be read for ever.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.files import make_folder
from wsseg.labels.space import BACKGROUND, NO, UNKNOWN, YES, LabelSpace, Presence

FILE = "labels.sqlite3"
"""The database in the work directory."""

Scribbles = NDArray[np.uint8]
"""(x, y, slice): 0 not annotated, 1..N the classes, 255 background."""

LONGEST_NAME = 255
LONGEST_TEXT = 2000

_FORMAT = 1
_BUSY_MS = 30_000

_schema = sa.MetaData()
_store = sa.Table("store", _schema, sa.Column("format", sa.Integer, primary_key=True, autoincrement=False))
_writes = sa.Table(
    "writes",
    _schema,
    sa.Column("serial", sa.Integer, primary_key=True),
    sa.Column("annotator", sa.String(LONGEST_NAME), nullable=False),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),  # UTC
)


def _table(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """Rows by scan, keys and serial; the last column is the value."""
    scan = sa.Column("scan", sa.String(LONGEST_NAME), primary_key=True)
    serial = sa.Column("serial", sa.Integer, sa.ForeignKey(_writes.c.serial), primary_key=True, index=True)
    return sa.Table(name, _schema, scan, *columns[:-1], serial, columns[-1])


_presence = _table(
    "presence",
    sa.Column("label", sa.String(64), primary_key=True),
    sa.Column("slice", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
)
# What 255 and a number mean depends on the classes that were on offer, so each list of them has its own map.
_scribbles = _table("scribbles", sa.Column("labels", sa.Text, nullable=False), sa.Column("voxels", sa.LargeBinary))
_texts = _table("texts", sa.Column("text", sa.Text))
_TABLES = (_presence, _scribbles, _texts)


@dataclass(frozen=True)
class Mark:
    """One class on one slice.

    Attributes:
        label: class name.
        slice: from 0 along the scan's third stored axis.
        state: 1 present, 0 absent, -1 unknown.
    """

    label: str
    slice: int
    state: int


@dataclass(frozen=True)
class WeakLabels:
    """What is known of one scan without a complete mask.

    Attributes:
        presence: (classes, slices) of 1, 0, -1.
        scribbles: (x, y, slice) as in :data:`Scribbles`, or None.
        text: a sentence of the report, or None.
    """

    presence: Presence
    scribbles: Scribbles | None
    text: str | None


@dataclass(frozen=True)
class Summary:
    """How far a scan is labelled.

    Attributes:
        labelled: number of slices on which a state of any of the classes is known.
        scribbles: whether there are any, drawn with exactly these classes on offer.
        text: whether there is one.
        annotator, time: of the last write about the scan, whatever it was; UTC.
    """

    labelled: int
    scribbles: bool
    text: bool
    annotator: str
    time: datetime


class LabelStore:
    """The weak labels in a database; any number of threads and processes may share it.

    A call that writes is one transaction: when it has returned its revision the
    rows are on disk, and when it raises nothing has been written. Cases are
    scans by name; classes, slice counts and grids are the caller's to give.

    Args:
        url: of any database that SQLAlchemy knows, with ``sqlite:///<file>`` and
            ``postgresql://<user>@<host>/<database>`` being tested.
        readonly: refuse to write, as the training process must.

    Raises:
        NotFoundError: ``readonly`` and there is no store yet.
        UnavailableError: the database cannot be reached; every call may raise it.
        WssegError: it is of another version.
    """

    def __init__(self, url: str | sa.URL, readonly: bool = False) -> None:
        self.readonly = readonly
        self._place = "labels"
        with self._reported():
            address = sa.make_url(url)
            self._place = f"labels in {address.render_as_string(hide_password=True)}"
            self._engine = _engine(address, readonly)
            # BEGIN IMMEDIATE in SQLite: a transaction that reads before it writes would else fail under load.
            self._writer = self._engine.execution_options(immediate=True)
            if not readonly:
                try:
                    self._make_tables()
                except (IntegrityError, ProgrammingError):  # another server has just made them
                    self._make_tables()
            self._check_format()
        self._place = "labels"  # a server's clients are told what fails later, not where it is kept

    @classmethod
    def at(cls, home: Path, readonly: bool = False) -> LabelStore:
        """The store in a work directory."""
        if not readonly:
            make_folder(home)
        return cls(sa.URL.create("sqlite", database=str(home / FILE)), readonly)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def revision(self) -> int:
        """Of the last write, 0 if there was none; every write has a higher one than those before it."""
        with self._reading() as connection:
            return _revision(connection)

    def cases(self) -> list[str]:
        """Names of the scans that any label was ever given for, sorted."""
        scans = sa.union(*(sa.select(table.c.scan) for table in _TABLES))
        with self._reading() as connection:
            return sorted(connection.scalars(scans))

    def summaries(self, labels: LabelSpace) -> dict[str, Summary]:
        """How far each scan of :meth:`cases` is labelled with these classes."""
        drawn_with = _scribbles.c.labels == json.dumps(labels.names)
        with self._reading() as connection:
            slices = _held(_presence, sa.func.count(_presence.c.slice.distinct()), _presence.c.label.in_(labels.names))
            counted = slices.where(_presence.c.state != UNKNOWN).group_by(_presence.c.scan)
            known = {row[0]: int(row[1]) for row in connection.execute(counted)}
            drawn = set(connection.scalars(_held(_scribbles, None, drawn_with).where(_scribbles.c.voxels.is_not(None))))
            told = set(connection.scalars(_held(_texts, None).where(_texts.c.text.is_not(None))))
            return {
                scan: Summary(known.get(scan, 0), scan in drawn, scan in told, annotator, _utc(time))
                for scan, annotator, time in connection.execute(_last_writes())
            }

    def classes(self, case: str) -> list[str]:
        """Names of the classes that presence was ever given of for a scan, sorted."""
        with self._reading() as connection:
            return sorted(connection.scalars(sa.select(_presence.c.label).where(_presence.c.scan == case).distinct()))

    def text(self, case: str) -> str | None:
        """The text of :meth:`read` alone."""
        with self._reading() as connection:
            return _newest(connection, _texts, _revision(connection), scan=case)

    def touched(self, revision: int) -> list[str]:
        """Names of the scans that a write was about, sorted."""
        scans = sa.union(*(sa.select(table.c.scan).where(table.c.serial == revision) for table in _TABLES))
        with self._reading() as connection:
            return sorted(connection.scalars(scans))

    def read(self, case: str, labels: LabelSpace, grid: tuple[int, ...], revision: int | None = None) -> WeakLabels:
        """The labels of one scan, all unknown if none were given.

        Args:
            case: name of the scan.
            labels: classes wanted; presence of others is left out, and scribbles
                are those drawn with exactly these classes on offer.
            grid: shape of the scan (x, y, slice).
            revision: what was known then, else now. With one revision for all
                scans a trainer sees one state, whoever writes meanwhile.

        Raises:
            WssegError: labels were given for another grid.
        """
        with self._reading() as connection:
            known = _revision(connection) if revision is None else revision
            return WeakLabels(
                presence=_presence_of(connection, case, labels, grid[2], known),
                scribbles=_scribbles_of(connection, case, labels, grid, known),
                text=_newest(connection, _texts, known, scan=case),
            )

    def presence(
        self, slices: Mapping[str, int], labels: LabelSpace, revision: int | None = None
    ) -> dict[str, Presence]:
        """The presence of :meth:`read` for several scans, given the number of slices of each."""
        with self._reading() as connection:
            known = _revision(connection) if revision is None else revision
            return {case: _presence_of(connection, case, labels, count, known) for case, count in slices.items()}

    def mark(self, case: str, marks: Iterable[Mark], labels: LabelSpace, slices: int, annotator: str) -> int:
        """Say on which slices classes are present, absent or unknown.

        Returns:
            The revision.

        Raises:
            WssegError: no mark, the same class and slice twice, an unknown class
                or state, or a slice that the scan does not have.
        """
        check_name(case, "scan")
        rows = [_mark_row(case, mark, labels, slices) for mark in marks]
        if not rows:
            raise WssegError(f"{case}: no label is given")
        seen = set()
        for row in rows:
            if (key := (row["label"], row["slice"])) in seen:
                raise WssegError(f"{case}: {row['label']} on slice {row['slice']} is given twice")
            seen.add(key)
        with self._writing() as connection:
            return _append(connection, _presence, rows, annotator)

    def scribble(
        self, case: str, voxels: NDArray[Any], labels: LabelSpace, grid: tuple[int, ...], annotator: str
    ) -> int:
        """Lay scribbles over the earlier ones of a scan; nonzero voxels win.

        A map that changes nothing is not written again: viewers send all strokes every time.

        Args:
            case: name of the scan.
            voxels: (x, y, slice) as in :data:`Scribbles`, any real type.
            labels: classes on offer when it was drawn.
            grid: shape of the scan.
            annotator: who drew it.

        Returns:
            The revision.

        Raises:
            WssegError: another shape than the scan's, a value that is no class,
                or nothing drawn.
        """
        check_name(case, "scan")
        _check_scribbles(case, voxels, labels, grid)
        with self._writing() as connection:
            known = _revision(connection)
            held = _scribbles_of(connection, case, labels, grid, known)
            merged = np.where(voxels != 0, voxels, 0 if held is None else held).astype(np.uint8)
            if held is not None and np.array_equal(merged, held):
                return known
            return _append(connection, _scribbles, [_scribble_row(case, merged, labels)], annotator)

    def erase(self, case: str, index: int, labels: LabelSpace, grid: tuple[int, ...], annotator: str) -> int:
        """Take away all scribbles on one slice that were drawn with exactly these classes on offer.

        Returns:
            The revision.

        Raises:
            WssegError: there are none.
        """
        check_name(case, "scan")
        with self._writing() as connection:
            held = _scribbles_of(connection, case, labels, grid, _revision(connection))
            if held is None or not 0 <= index < grid[2] or not held[:, :, index].any():
                raise WssegError(f"{case}, slice {index}: there are no scribbles to erase")
            held[:, :, index] = 0
            return _append(connection, _scribbles, [_scribble_row(case, held, labels)], annotator)

    def describe(self, case: str, text: str, annotator: str) -> int:
        """Give a sentence of the report, in place of an earlier one; an empty one only takes that away.

        Returns:
            The revision.

        Raises:
            WssegError: longer than 2000 characters, or with control characters.
        """
        check_name(case, "scan")
        stripped = text.strip()
        if len(stripped) > LONGEST_TEXT:
            raise WssegError(f"{case}: the text has {len(stripped)} characters, {LONGEST_TEXT} are possible")
        if _CONTROL.search(re.sub(r"[\t\r\n]", "", stripped)):
            raise WssegError(f"{case}: the text holds control characters")
        with self._writing() as connection:
            return _append(connection, _texts, [{"scan": case, "text": stripped or None}], annotator)

    def undo(self, revision: int, annotator: str) -> int:
        """Bring back, as a new write, what was known before a write of all that it touched.

        Returns:
            The new revision.

        Raises:
            NotFoundError: there is no such write.
            WssegError: somebody else has written over it since.
        """
        with self._writing() as connection:
            if connection.scalar(sa.select(_writes.c.serial).filter_by(serial=revision)) is None:
                raise NotFoundError(f"labels: there is no write {revision} to undo")
            for table in _TABLES:
                _check_own(connection, table, revision, annotator)
            serial = _new_write(connection, annotator)
            for table in _TABLES:
                _restore(connection, table, revision, serial)
            return serial

    def fill(self, cases: Mapping[str, Presence], labels: LabelSpace, annotator: str) -> int:
        """Take over states of many scans in one write.

        Unknown changes nothing, and states that hold already are not written again.

        Args:
            cases: (classes, slices) by scan, for all slices that it has.
            labels: the classes.
            annotator: whose labels they are.

        Returns:
            The revision.
        """
        with self._writing() as connection:
            known = _revision(connection)
            rows = []
            for case, presence in cases.items():
                check_name(case, "scan")
                held = _presence_of(connection, case, labels, presence.shape[1], known)
                for k, index in np.argwhere((presence != UNKNOWN) & (presence != held)).tolist():
                    state = int(presence[k, index])
                    rows.append({"scan": case, "label": labels.names[k], "slice": index, "state": state})
            return _append(connection, _presence, rows, annotator) if rows else known

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise WssegError(f"{self._place}: the package {error.name} is missing") from error
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise UnavailableError(f"{self._place}: {reason}") from error

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._reported(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction beside which nobody else writes, so that serials are committed in their order."""
        if self.readonly:
            raise WssegError(f"{self._place}: opened for reading only")
        with self._reported(), self._writer.begin() as connection:
            connection.execute(sa.select(_store).with_for_update())
            yield connection

    def _make_tables(self) -> None:
        with self._writer.begin() as connection:
            _schema.create_all(connection)
            if connection.scalar(sa.select(_store.c.format)) is None:
                connection.execute(sa.insert(_store).values(format=_FORMAT))

    def _check_format(self) -> None:
        with self._engine.begin() as connection:
            there = sa.inspect(connection).has_table(_store.name)
            found = connection.scalar(sa.select(_store.c.format)) if there else None
        if found is None:
            raise NotFoundError(f"{self._place}: there are none yet")
        if found != _FORMAT:
            raise WssegError(f"{self._place}: are of format {found}, this version of wsseg knows {_FORMAT}")


def _engine(url: sa.URL, readonly: bool) -> sa.Engine:
    """Connections whose transactions are real ones, in SQLite too."""
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True, execution_options={"postgresql_readonly": readonly})
    if readonly:
        file = Path(url.database or "")
        if not file.is_file():
            raise NotFoundError(f"{file}: there are no labels yet")
        url = url.set(database=f"file:{quote(str(file.absolute()))}").update_query_dict({"mode": "ro", "uri": "true"})
    engine = sa.create_engine(url)

    def connected(connection: Any, record: object) -> None:
        connection.isolation_level = None  # Python would begin transactions by itself, and too late
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA query_only={'ON' if readonly else 'OFF'}")
        if not readonly:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")

    def begun(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)
    return engine


_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def check_name(name: str, what: str) -> None:
    """Refuse what cannot be the name of a scan or an annotator, as ``what`` says."""
    if not name.strip():
        raise WssegError(f"labels: the name of the {what} is empty")
    if len(name) > LONGEST_NAME:
        raise WssegError(f"labels: the name of the {what}, {name[:20]}..., is longer than {LONGEST_NAME} characters")
    if _CONTROL.search(name) or (what == "scan" and re.search(r"[/\\]", name)):
        raise WssegError(f"labels: the name of the {what}, {name!r}, holds a character that no name may have")


def _mark_row(case: str, mark: Mark, labels: LabelSpace, slices: int) -> dict[str, Any]:
    place = f"{case}, slice {mark.slice}"
    if not isinstance(mark.slice, int | np.integer) or not 0 <= mark.slice < slices:
        raise WssegError(f"{place}: the scan has slices 0 to {slices - 1}")
    if mark.label not in labels.names:
        raise WssegError(f'{place}: label "{mark.label}" is unknown, known are: {", ".join(labels.names)}')
    if mark.state not in (YES, NO, UNKNOWN):
        raise WssegError(f"{place}: {mark.label} must be 1, 0 or -1, not {mark.state!r}")
    return {"scan": case, "label": mark.label, "slice": int(mark.slice), "state": int(mark.state)}


def _check_scribbles(case: str, voxels: NDArray[Any], labels: LabelSpace, grid: tuple[int, ...]) -> None:
    if voxels.shape != grid:
        raise WssegError(f"{case}: the scribbles are {_size(voxels.shape)} voxels, the scan is {_size(grid)}")
    known = np.isin(voxels, [*range(len(labels) + 1), BACKGROUND])
    if not known.all():
        x, y, index = np.argwhere(~known)[0]
        value = f"{voxels[x, y, index]:g}"
        raise WssegError(f"{case}, slice {index}: scribble value {value} is none of 0 to {len(labels)} or {BACKGROUND}")
    if not voxels.any():
        raise WssegError(f"{case}: the scribbles are empty")


def _scribble_row(case: str, voxels: Scribbles, labels: LabelSpace) -> dict[str, Any]:
    packed = io.BytesIO()
    np.savez_compressed(packed, voxels=voxels)
    stored = packed.getvalue() if voxels.any() else None
    return {"scan": case, "labels": json.dumps(labels.names), "voxels": stored}


def _revision(connection: sa.Connection) -> int:
    return connection.scalar(sa.select(sa.func.max(_writes.c.serial))) or 0


def _value(table: sa.Table) -> sa.Column[Any]:
    return list(table.c)[-1]


def _newest(connection: sa.Connection, table: sa.Table, revision: int, **keys: str) -> Any:
    """The value of the newest row with these keys, None if there is none."""
    rows = sa.select(_value(table)).filter_by(**keys).where(table.c.serial <= revision)
    return connection.scalar(rows.order_by(table.c.serial.desc()).limit(1))


def _held(table: sa.Table, what: sa.ColumnElement[Any] | None, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Scan, and something else of it, of the rows that no newer one has replaced."""
    keys = [table.c[name] for name in _keys(table)]
    newest = sa.select(*keys, sa.func.max(table.c.serial).label("serial")).where(*conditions).group_by(*keys).subquery()
    chosen = sa.select(table.c.scan) if what is None else sa.select(table.c.scan, what)
    return chosen.join(newest, sa.and_(_same(table, newest), table.c.serial == newest.c.serial))


def _last_writes() -> sa.Select[Any]:
    """Scan, annotator and time of the last write about each scan."""
    each = sa.union_all(*(sa.select(table.c.scan, table.c.serial) for table in _TABLES)).subquery()
    last = sa.select(each.c.scan, sa.func.max(each.c.serial).label("serial")).group_by(each.c.scan).subquery()
    rows = sa.select(last.c.scan, _writes.c.annotator, _writes.c.time).order_by(last.c.scan)
    return rows.join(_writes, _writes.c.serial == last.c.serial)


def _utc(time: datetime) -> datetime:
    """SQLite keeps no time zone."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _presence_of(connection: sa.Connection, case: str, labels: LabelSpace, slices: int, revision: int) -> Presence:
    table = _presence.c
    rows = sa.select(table.label, table.slice, table.state).where(table.scan == case, table.serial <= revision)
    presence = np.full((len(labels), slices), UNKNOWN, np.int8)
    for label, index, state in connection.execute(rows.order_by(table.serial)):
        if label in labels.names:
            if index >= slices:
                raise WssegError(f"{case}: {label} is labelled on slice {index}, but the scan has {slices} slices")
            presence[labels.names.index(label), index] = state
    return presence


def _scribbles_of(
    connection: sa.Connection, case: str, labels: LabelSpace, grid: tuple[int, ...], revision: int
) -> Scribbles | None:
    packed = _newest(connection, _scribbles, revision, scan=case, labels=json.dumps(labels.names))
    if packed is None:
        return None
    with np.load(io.BytesIO(packed)) as stored:
        voxels: Scribbles = stored["voxels"]
    if voxels.shape != grid:
        raise WssegError(f"{case}: has scribbles of {_size(voxels.shape)} voxels, but the scan is {_size(grid)}")
    return voxels


def _new_write(connection: sa.Connection, annotator: str) -> int:
    check_name(annotator, "annotator")
    new = sa.insert(_writes).values(annotator=annotator, time=datetime.now(UTC))
    return int(connection.execute(new.returning(_writes.c.serial)).scalar_one())


def _append(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], annotator: str) -> int:
    serial = _new_write(connection, annotator)
    connection.execute(sa.insert(table), [{**row, "serial": serial} for row in rows])
    return serial


def _keys(table: sa.FromClause) -> list[str]:
    """The columns that say what a row is about: all but serial, and the value at the end."""
    return [name for name in table.c.keys()[:-1] if name != "serial"]


def _same(one: sa.FromClause, other: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether two rows are about the same thing."""
    return sa.and_(*(one.c[name] == other.c[name] for name in _keys(one)))


def _check_own(connection: sa.Connection, table: sa.Table, revision: int, annotator: str) -> None:
    """Refuse to undo a write that somebody else has written over."""
    undone, later = table.alias(), table.alias()
    others = (
        sa.select(later.c.scan, _writes.c.annotator)
        .join_from(undone, later, _same(undone, later))
        .join(_writes, _writes.c.serial == later.c.serial)
        .where(undone.c.serial == revision, later.c.serial > revision, _writes.c.annotator != annotator)
    )
    if found := connection.execute(others.limit(1)).first():
        raise WssegError(f"{found.scan}: {found.annotator} has written over this since, it cannot be undone")


def _restore(connection: sa.Connection, table: sa.Table, revision: int, serial: int) -> None:
    """Append the state before a write of every row that it wrote."""
    undone, before = table.alias(), table.alias()
    value = _value(table).name
    earlier: sa.ColumnElement[Any] = (
        sa.select(before.c[value])
        .where(_same(undone, before), before.c.serial < revision)
        .order_by(before.c.serial.desc())
        .limit(1)
        .scalar_subquery()
    )
    new = {"serial": sa.literal(serial), value: sa.func.coalesce(earlier, UNKNOWN) if table is _presence else earlier}
    names = table.c.keys()
    rows = sa.select(*(new.get(name, undone.c[name]) for name in names)).where(undone.c.serial == revision)
    connection.execute(sa.insert(table).from_select(names, rows))


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
