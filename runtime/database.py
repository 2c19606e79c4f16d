"""The one database: opened, brought up to date, and its failures put into words.

`open_database` gives an engine whose schema is current. `reading` and `writing` are the transactions that our stores
work in; they turn a driver's errors into `StoreError`. SQLite and PostgreSQL run the same code: what differs between
them (locking, upserts, time zones) is settled here and nowhere else.
"""

import asyncio
import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import event, exc
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import QueuePool

from runtime.errors import DatabaseTooNew, StoreError
from tools.tenancy import acting, guard
from tools.transactions import READ_ONLY, snapshot

BUSY_TIMEOUT_S = 30.0
"""How long a SQLite writer waits for another one."""

_CLOSING_LIMIT_S = 5.0
"""How long `close_database` waits."""

_MIGRATION_LOCK = 0x686F6E65
"""Key of PostgreSQL's advisory lock, so that two servers starting at once migrate one after the other."""

_WRITES = "hone_writes"
"""Of a pooled connection: it has begun to write and is not back yet."""

_joined: ContextVar[Connection | None] = ContextVar("joined", default=None)
"""The transaction that blocks of `writing` join, within `together`."""

Clock: TypeAlias = Callable[[], datetime]


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An instant: stored in UTC, always aware when read. SQLite alone would lose the time zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone: pass an aware datetime, such as datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def utc_now() -> datetime:
    """The clock of the stores unless a test gives another."""
    return datetime.now(UTC)


def open_database(url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Opens the database at a SQLAlchemy URL, making or migrating it as needed.

    Migration is one transaction: it happens in full or not at all.

    Args:
        busy_timeout_s: how long a SQLite writer waits for another one.

    Raises:
        DatabaseTooNew: a newer hone made it.
        StoreError: it cannot be reached or is no database.
    """
    location = _parse(url)
    engine = _create_engine(location, busy_timeout_s)
    shown = location.render_as_string(hide_password=True)
    try:
        if engine.dialect.name == "sqlite":
            _enable_wal(engine)
        _migrate(engine, shown)
    except (exc.SQLAlchemyError, CommandError) as e:
        engine.dispose()
        raise StoreError(
            f"cannot open the database {shown}: {_cause(e)}; check that it is a hone database that this user may "
            "write, restore it from a backup, or name another place"
        ) from e
    except BaseException:
        engine.dispose()
        raise
    return engine


async def close_database(engine: Engine) -> None:
    """Threads outlive the tasks that began them, so what they are at is waited for: a connection that comes back to a closed pool
    is closed by nobody."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _CLOSING_LIMIT_S
    assert isinstance(engine.pool, QueuePool)
    while engine.pool.checkedout() and clock() < deadline:
        await asyncio.sleep(0.01)
    engine.dispose()


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the database that never waits for a writer on SQLite."""
    with _classified(engine), snapshot(engine) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed when the block ends, rolled back when it raises. Within `together`, a part of that one."""
    outer = _joined.get()
    if outer is not None and outer.engine is engine:
        yield outer
        return
    with _classified(engine), engine.begin() as connection:
        yield connection


@contextmanager
def together(engine: Engine) -> Iterator[Connection]:
    """What stores write within the block, in this thread, is one transaction and one commit: all of it is kept or none."""
    with writing(engine) as connection:
        token = _joined.set(connection)
        try:
            yield connection
        finally:
            _joined.reset(token)


def compact(engine: Engine) -> None:
    """Takes what was deleted out of SQLite's write-ahead log too, unless somebody reads just then; the next checkpoint does
    it in that case. PostgreSQL's own vacuum sees to its files."""
    if engine.dialect.name != "sqlite":
        return
    with _classified(engine):
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            raw.close()


def upsert(engine: Engine, table: sa.Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that offers `on_conflict_do_nothing` and `on_conflict_do_update` on both databases."""
    return postgresql.insert(table) if engine.dialect.name == "postgresql" else sqlite.insert(table)


def dump_json(value: Any) -> str:
    """JSON as the stores write it. JSON knows no NaN or infinity, and PostgreSQL refuses them: they become text."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


@contextmanager
def _classified(engine: Engine) -> Iterator[None]:
    try:
        yield
    except exc.IntegrityError as e:
        raise StoreError(f"refused, since it contradicts what is stored: {_cause(e)}; nothing was changed") from e
    # LangGraph's savers work on the driver's own connection, whose errors come as they are
    except (exc.DBAPIError, engine.dialect.loaded_dbapi.Error) as e:
        shown = engine.url.render_as_string(hide_password=True)
        raise StoreError(
            f"the database {shown} failed: {_cause(e)}; check that it is running and undamaged, that nothing else "
            "holds it, and that there is room on its disk"
        ) from e


def _cause(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    return str(original).strip().splitlines()[0] if str(original).strip() else type(original).__name__


def _parse(url: str) -> URL:
    try:
        location = make_url(url)
    except exc.ArgumentError as e:
        raise StoreError(f"{url!r} is no database URL: write sqlite:///PATH or postgresql://USER@HOST/NAME") from e
    backend = location.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise StoreError(f"no support for {backend!r} databases: write sqlite:///PATH or postgresql://USER@HOST/NAME")
    if backend == "sqlite":
        if location.database in (None, "", ":memory:"):
            raise StoreError(f"{url!r} would keep nothing: name a file, as in sqlite:///hone.db")
        try:
            Path(str(location.database)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StoreError(f"cannot make the folder of {location.database!r}: {e}; name another place") from e
    return location


def _create_engine(location: URL, busy_timeout_s: float) -> Engine:
    is_sqlite = location.get_backend_name() == "sqlite"
    try:
        engine = sa.create_engine(
            location,
            json_serializer=dump_json,
            pool_pre_ping=not is_sqlite,
            connect_args={"timeout": busy_timeout_s} if is_sqlite else {},
        )
    except (exc.ArgumentError, ImportError) as e:
        raise StoreError(f"no driver for {location.drivername!r} databases: {e}; install it with pip") from e
    guard(engine)
    if is_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        _Writers(busy_timeout_s).listen(engine)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # `_Writers` begins transactions, so that DDL and reads are inside them too
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, as erasure promises


class _Writers:
    """Begins a SQLite database's transactions, those that write one after the other.

    SQLite has one writer at a time, and one that finds another at work sleeps and looks again, ever longer. Threads of one process
    wait for one another here instead, and the next begins as soon as the last has ended. For other processes SQLite waits.
    """

    def __init__(self, busy_timeout_s: float) -> None:
        self._busy_timeout_s = busy_timeout_s
        self._gate = threading.Lock()

    def listen(self, engine: Engine) -> None:
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "checkin", self._end)

    def _begin(self, connection: Connection) -> None:
        # A transaction that begins as a reader and turns writer fails at once, without waiting, if another wrote meanwhile;
        # so whatever is not declared to be a reader takes the write lock first.
        if connection.get_execution_options().get(READ_ONLY, False):
            connection.exec_driver_sql("BEGIN")
            return
        info = connection.connection.record_info
        assert info is not None  # only a detached connection has none
        if not info.get(_WRITES):
            if not self._gate.acquire(timeout=self._busy_timeout_s):
                locked = sqlite3.OperationalError("database is locked by another thread of this process")
                raise exc.OperationalError("BEGIN IMMEDIATE", None, locked)
            info[_WRITES] = True
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def _end(self, connection: Any, record: Any) -> None:
        """A connection is back in the pool: whatever it wrote is committed or undone."""
        if record.record_info.pop(_WRITES, False):
            self._gate.release()


def _enable_wal(engine: Engine) -> None:
    """Readers and the writer no longer block one another. The mode is kept in the file.

    SQLite does not wait when two processes switch at once, so this does.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode=WAL")
            return
        except Exception as e:
            # the driver's own exceptions: only "locked" is worth waiting for
            if "locked" not in str(e) or time.monotonic() > deadline:
                raise exc.OperationalError("PRAGMA journal_mode=WAL", None, e) from e
            time.sleep(0.02)
        finally:
            raw.close()


def check_current(engine: Engine) -> str | None:
    """What is wrong with the schema of a database that was opened before; None: nothing, and it answers.

    Raises: StoreError: it does not answer.
    """
    with reading(engine) as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    head = _head()
    return None if revision == head else f"the database is at revision {revision!r}, this hone works with {head!r}"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


@cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _migrate(engine: Engine, shown: str) -> None:
    config = _config()
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with snapshot(engine) as connection:
        if _revision(connection, scripts, shown) == head:
            return
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        if _revision(connection, scripts, shown) != head:
            config.attributes["connection"] = connection
            with acting(None):  # all tenants' rows change alike
                command.upgrade(config, "head")


def _revision(connection: Connection, scripts: ScriptDirectory, shown: str) -> str | None:
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise DatabaseTooNew(
            f"the database {shown} is at revision {revision!r}, which this hone does not know: a newer hone made it; "
            "upgrade hone, or name another database"
        )
    return revision
