"""The database that labels are kept in, whose transactions are real ones, in SQLite too."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from wsseg.errors import UnavailableError, WssegError
from wsseg.labels.database.schema import FORMAT, bring_over, schema, store

_BUSY_MS = 30_000


class Database:
    """A database of labels: transactions, and its failures as one sentence.

    Args:
        url: of any database that SQLAlchemy knows, with ``sqlite:///<file>`` and
            ``postgresql://<user>@<host>/<database>`` (psycopg 3) being tested.

    Attributes:
        writes: another number after every write of this process.

    Raises:
        UnavailableError: it cannot be reached; every transaction may raise it.
        WssegError: its tables are of another version.
    """

    def __init__(self, url: str | sa.URL) -> None:
        self._counted = itertools.count(1)
        self.writes = 0
        self._place = "labels"
        with self._reported():
            address = sa.make_url(url)
            self._place = f"labels in {address.render_as_string(hide_password=True)}"
            self._engine = _connect(address)
            self._writer = self._engine.execution_options(immediate=True)
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
        with self._reported(), self._writer.begin() as connection:
            connection.execute(sa.select(store).with_for_update())
            yield connection
        self.writes = next(self._counted)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            extra = ", install wsseg with its extra postgresql" if error.name == "psycopg" else ""
            raise WssegError(f"{self._place}: the package {error.name} is missing{extra}") from error
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
        found = connection.scalar(sa.select(store.c.format))
        if found != FORMAT:
            raise WssegError(f"{self._place}: are of format {found}, this version of wsseg knows {FORMAT}")


def _connect(url: sa.URL) -> sa.Engine:
    """The engine of a database.

    With the execution option ``immediate`` a transaction in SQLite locks at once:
    one that reads before it writes would else fail under load.
    """
    if url.drivername == "postgresql":  # what SQLAlchemy takes this for depends on its version
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    engine = sa.create_engine(url)

    def connected(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # Python would begin transactions by itself, and too late
        connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    def begun(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)
    return engine
