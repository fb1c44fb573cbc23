"""The tables of work on archives, in the database that labels are kept in.

A campaign is one version of one model over one archive. What is to be done of
it is a row for each series; how far an archive's list was read is a row for
each question that was asked of it.
"""

from __future__ import annotations

import sqlalchemy as sa

FORMAT = 1
"""Of these tables; the labels beside them count their own."""

schema = sa.MetaData()

store = sa.Table("archive_store", schema, sa.Column("format", sa.Integer, primary_key=True, autoincrement=False))

campaigns = sa.Table(
    "archive_campaigns",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("archive", sa.Text, nullable=False),  # address without user and password
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("version", sa.String(255), nullable=False),
    sa.Column("destination", sa.Text, nullable=False),  # another archive, or a folder as an address
    sa.UniqueConstraint("archive", "model", "version", "destination"),
)

listings = sa.Table(
    "archive_listings",
    schema,
    sa.Column("campaign", sa.Integer, sa.ForeignKey(campaigns.c.id), primary_key=True),
    sa.Column("query", sa.Text, primary_key=True),  # as JSON, sorted
    sa.Column("position", sa.Integer, nullable=False),  # series of an unfinished list that were read
    sa.Column("newest", sa.String(8), nullable=False),  # StudyDate, over all lists so far; "" before the first
    sa.Column("whole", sa.Float, nullable=False),  # when a whole list was begun that was read to its end; UTC; 0
)

series = sa.Table(
    "archive_series",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("campaign", sa.Integer, sa.ForeignKey(campaigns.c.id), nullable=False),
    sa.Column("uid", sa.String(64), nullable=False),
    sa.Column("study", sa.String(64), nullable=False),
    sa.Column("images", sa.Integer, nullable=False),
    sa.Column("state", sa.String(8), nullable=False),  # see work.State
    sa.Column("owner", sa.String(64)),  # who has claimed it
    sa.Column("until", sa.Float),  # seconds since 1970 at which the claim ends unless it is renewed
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("finished", sa.Float),  # seconds since 1970 at which it was done or had failed
    sa.Column("seconds", sa.Float),
    sa.Column("sizes", sa.Text),  # JSON: millilitres by class
    sa.Column("quality", sa.Float),  # what the model says of its own mask, in [0, 1]
    sa.Column("error", sa.Text),  # why it failed
    sa.UniqueConstraint("campaign", "uid"),
    sa.Index("archive_series_by_state", "campaign", "state", "id"),
    sa.Index("archive_series_by_quality", "campaign", "quality"),
    sa.Index("archive_series_by_time", "campaign", "finished"),
)


def bring_over(connection: sa.Connection) -> None:
    """Give tables made before series had a time at which they were finished that column and its index.

    What was finished before then keeps none; who wrote such tables goes on using them.
    """
    if series.c.finished.name in {column["name"] for column in sa.inspect(connection).get_columns(series.name)}:
        return
    kind = series.c.finished.type.compile(connection.dialect)
    connection.execute(sa.DDL(f"ALTER TABLE {series.name} ADD COLUMN {series.c.finished.name} {kind}"))
    for index in series.indexes:
        index.create(connection, checkfirst=True)
