"""The database that labels are kept in, whose transactions are real ones, in SQLite too."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from wsseg.errors import NotFoundError, UnavailableError, WssegError
from wsseg.labels.database.schema import FORMAT, bring_over, schema, store

_BUSY_MS = 30_000


class Database:
    """A database of labels: transactions, and its failures as one sentence.

    Args:
        url: of any database that SQLAlchemy knows, with ``sqlite:///<file>`` and
            ``postgresql://<user>@<host>/<database>`` being tested.
        readonly: refuse to write.

    Attributes:
        writes: another number after every write of this process.

    Raises:
        NotFoundError: ``readonly`` and there is no store yet.
        UnavailableError: it cannot be reached; every transaction may raise it.
        WssegError: its tables are of another version.
    """

    def __init__(self, url: str | sa.URL, readonly: bool) -> None:
        self._readonly = readonly
        self._counted = itertools.count(1)
        self.writes = 0
        self._place = "labels"
        with self._reported():
            address = sa.make_url(url)
            self._place = f"labels in {address.render_as_string(hide_password=True)}"
            self._engine = _connect(address, readonly)
            self._writer = self._engine.execution_options(immediate=True)
            if not readonly:
                try:
                    self._make_tables()
                except (IntegrityError, ProgrammingError):  # another server has just made them
                    self._make_tables()
            with self._engine.begin() as connection:
                self._check_format(connection)
        self._place = "labels"  # a server's clients are told what fails later, not where it is kept

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state."""
        with self._reported(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction beside which nobody else writes, so that serials are committed in their order."""
        if self._readonly:
            raise WssegError(f"{self._place}: opened for reading only")
        with self._reported(), self._writer.begin() as connection:
            connection.execute(sa.select(store).with_for_update())
            yield connection
        self.writes = next(self._counted)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise WssegError(f"{self._place}: the package {error.name} is missing") from error
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise UnavailableError(f"{self._place}: {reason}") from error

    def _make_tables(self) -> None:
        """Make what is missing, and bring tables of format 1 over; a kill leaves them as they were."""
        with self._writer.begin() as connection:
            if not sa.inspect(connection).has_table(store.name):
                schema.create_all(connection)
                connection.execute(sa.insert(store).values(format=FORMAT))
            elif connection.scalar(sa.select(store.c.format).with_for_update()) == 1:
                schema.create_all(connection)
                bring_over(connection)
                connection.execute(sa.update(store).values(format=FORMAT))

    def _check_format(self, connection: sa.Connection) -> None:
        there = sa.inspect(connection).has_table(store.name)
        found = connection.scalar(sa.select(store.c.format)) if there else None
        if found is None:
            raise NotFoundError(f"{self._place}: there are none yet")
        if found != FORMAT:
            raise WssegError(f"{self._place}: are of format {found}, this version of wsseg knows {FORMAT}")


def _connect(url: sa.URL, readonly: bool) -> sa.Engine:
    """The engine of a database.

    With the execution option ``immediate`` a transaction in SQLite locks at once:
    one that reads before it writes would else fail under load.

    Raises:
        NotFoundError: ``readonly``, and there is no file.
    """
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True, execution_options={"postgresql_readonly": readonly})
    if readonly:
        file = Path(url.database or "")
        if not file.is_file():
            raise NotFoundError(f"{file}: there are no labels yet")
        url = url.set(database=f"file:{quote(str(file.absolute()))}").update_query_dict({"mode": "ro", "uri": "true"})
    engine = sa.create_engine(url)

    def connected(connection: sqlite3.Connection, record: object) -> None:
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
