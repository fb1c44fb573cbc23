"""The tables that labels are kept in, and how those of earlier versions become them.

A label is one row of ``labels``: of which scan, of which kind, about what, given
by which write, and its value. A new kind of label is new rows, never a new table.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from wsseg.labels.space import LONGEST_NAME, WHOLE, AboutKind

FORMAT = 2
"""Of the tables. 1 had a table for each kind, and knew scans by their names alone."""

schema = sa.MetaData()

store = sa.Table("store", schema, sa.Column("format", sa.Integer, primary_key=True, autoincrement=False))

writes = sa.Table(
    "writes",
    schema,
    sa.Column("serial", sa.Integer, primary_key=True),
    sa.Column("annotator", sa.String(LONGEST_NAME), nullable=False),
    sa.Column("time", sa.DateTime(timezone=True), nullable=False),  # UTC
)

scans = sa.Table(
    "scans",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    # Both are null of scans that format 1 knew by name, until a project adopts their labels.
    sa.Column("project", sa.Text),
    sa.Column("content", sa.String(64)),
    sa.Column("name", sa.String(LONGEST_NAME), nullable=False, index=True),
    sa.UniqueConstraint("project", "content", "name"),  # two copies of a scan are labelled each on its own
)

labels = sa.Table(
    "labels",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),  # counts on, so the newest row about a thing has the highest
    sa.Column("scan", sa.Integer, sa.ForeignKey(scans.c.id), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("label", sa.Text, nullable=False),  # a class, or what else the kind tells its labels apart by
    sa.Column("axis", sa.SmallInteger, nullable=False),  # the stored axis that the slice is counted along
    sa.Column("slice", sa.Integer, nullable=False),
    sa.Column("serial", sa.Integer, sa.ForeignKey(writes.c.serial), nullable=False, index=True),
    sa.Column("value", sa.LargeBinary),  # as the kind encodes it; null where the label was taken away
    sa.Index("labels_of_a_scan", "scan", "kind", "axis", "slice"),
)


def bring_over(connection: sa.Connection) -> None:
    """Every row of the three tables of format 1 into ``labels``, its scan without project and content."""
    old = sa.MetaData()
    old.reflect(connection, only=("presence", "scribbles", "texts"))
    presence, scribbles, texts = (old.tables[name] for name in ("presence", "scribbles", "texts"))
    names = sa.union(*(sa.select(table.c.scan) for table in (presence, scribbles, texts))).subquery()
    connection.execute(sa.insert(scans).from_select(["name"], sa.select(names.c.scan)))
    whole = sa.literal(WHOLE)
    state = sa.case(
        (presence.c.state == 1, sa.literal(b"1", sa.LargeBinary)),
        (presence.c.state == 0, sa.literal(b"0", sa.LargeBinary)),
        else_=sa.null(),
    )
    _copy(connection, presence, "presence", presence.c.label, sa.literal(2), presence.c.slice, state)
    _copy(connection, scribbles, "scribbles", scribbles.c.labels, whole, whole, scribbles.c.voxels)
    _copy(connection, texts, "text", sa.literal(""), whole, whole, sa.null())
    rows = sa.select(labels.c.id, texts.c.text).join_from(labels, scans, labels.c.scan == scans.c.id)
    rows = rows.join(texts, sa.and_(texts.c.scan == scans.c.name, texts.c.serial == labels.c.serial))
    # Encoded here, since what a database makes of text as bytes is its own.
    for row, text in connection.execute(rows.where(labels.c.kind == "text", texts.c.text.is_not(None))).all():
        connection.execute(sa.update(labels).where(labels.c.id == row).values(value=text.encode()))
    for table in (presence, scribbles, texts):
        table.drop(connection)


def _copy(connection: sa.Connection, table: sa.Table, kind: AboutKind, *columns: sa.ColumnElement[Any]) -> None:
    """Rows of one old table; the columns are label, axis, slice and value."""
    chosen = sa.select(scans.c.id, sa.literal(kind), *columns, table.c.serial)
    rows = chosen.join_from(table, scans, table.c.scan == scans.c.name).order_by(table.c.serial)
    into = ["scan", "kind", "label", "axis", "slice", "value", "serial"]
    connection.execute(sa.insert(labels).from_select(into, rows))
