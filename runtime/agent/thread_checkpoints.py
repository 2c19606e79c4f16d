"""What LangGraph keeps of threads, in the one database and in our transactions.

LangGraph's own savers read and write it, each on the connection of one of our transactions. What a run of the graph leaves is
held here first, and written with whatever else its turn writes then: its end, its question, or the decision that it is about to act
on. So a turn and its thread checkpoint are kept together or not at all, and at the cost of one commit.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from runtime.database import reading, writing
from runtime.errors import StoreError

Saver: TypeAlias = BaseCheckpointSaver[str]

SETUP_LIMIT_S = 60.0
PAGE = 20
"""Thread checkpoints that are read at once."""
_SETUP_LOCK = 0x686F6E66
"""Key of PostgreSQL's advisory lock, so that of servers starting at once one makes the tables."""
_TRY_LOCK, _UNLOCK = (
    sa.select(sa.func.pg_try_advisory_lock(_SETUP_LOCK)),
    sa.select(sa.func.pg_advisory_unlock(_SETUP_LOCK)),
)
_TABLES = ("checkpoints", "writes")
"""LangGraph's in SQLite."""


@dataclass(slots=True)
class HeldCheckpoints:
    """What runs of the graph have left in a thread and is yet to be written."""

    latest: str | None = None
    """Id of the newest."""
    _writes: list[Callable[[Saver], Any]] = field(default_factory=list)

    def add(self, write: Callable[[Saver], Any]) -> None:
        self._writes.append(write)

    def write(self, saver: Saver) -> None:
        for write in self._writes:
            write(saver)


class ThreadCheckpoints(BaseCheckpointSaver[str]):
    """A LangGraph saver for graphs that run in one event loop, one run at a time in each thread."""

    def __init__(self, engine: Engine) -> None:
        """Args: engine: of a database that `open_thread_checkpoints` has seen to."""
        super().__init__(serde=JsonPlusSerializer())
        self._engine = engine
        self._saver_on = _saver_of(engine)
        self._versions = self._saver_on(None)
        self._held: dict[str, HeldCheckpoints] = {}

    def take(self, thread_id: str) -> HeldCheckpoints:
        """What is held of a thread; whoever takes it writes it, or lets it go for good."""
        return self._held.pop(thread_id, HeldCheckpoints())

    def write(self, held: HeldCheckpoints) -> None:
        """A part of the caller's transaction, if there is one. Raises: StoreError."""
        with writing(self._engine) as connection:
            held.write(self._saver_on(connection))

    def forget(self, connection: Connection, thread_id: str) -> None:
        """Within the caller's transaction, all that is written of a thread."""
        self._saver_on(connection).delete_thread(thread_id)

    def get_next_version(self, current: str | None, channel: None) -> str:
        return self._versions.get_next_version(current, channel)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Raises: StoreError."""
        return await asyncio.to_thread(self._read, lambda saver: saver.get_tuple(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            ask = partial(_listed, config=config, filter=filter, before=before, limit=size)
            page = await asyncio.to_thread(self._read, ask)
            for found in page:
                yield found
            if len(page) < size:
                return
            before = page[-1].config
            left = None if left is None else left - size

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        held = self._holding(config)
        held.add(lambda saver: saver.put(config, checkpoint, metadata, new_versions))
        held.latest = checkpoint["id"]
        place = config.get("configurable") or {}
        kept = {"thread_id": place["thread_id"], "checkpoint_ns": place["checkpoint_ns"]}
        return {"configurable": {**kept, "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        self._holding(config).add(lambda saver: saver.put_writes(config, writes, task_id, task_path))

    def _holding(self, config: RunnableConfig) -> HeldCheckpoints:
        return self._held.setdefault((config.get("configurable") or {})["thread_id"], HeldCheckpoints())

    def _read(self, ask: Callable[[Saver], Any]) -> Any:
        with reading(self._engine) as connection:
            return ask(self._saver_on(connection))


def open_thread_checkpoints(engine: Engine, before: Path) -> ThreadCheckpoints:
    """Makes LangGraph's tables, or brings them up to date.

    Args:
        engine: of the database that all else lies in.
        before: the file beside a SQLite database in which earlier versions kept them; what is in it moves into the database.

    Raises: StoreError: the tables cannot be made.
    """
    if engine.dialect.name == "postgresql":
        _set_up_postgres(engine)
    else:
        _set_up_sqlite(engine, before)
    return ThreadCheckpoints(engine)


def _listed(saver: Saver, **wanted: Any) -> list[CheckpointTuple]:
    return list(saver.list(wanted.pop("config"), **wanted))


def _saver_of(engine: Engine) -> Callable[[Connection | None], Saver]:
    """Gives LangGraph's saver for the transaction of a connection; None: one that only knows how versions are counted."""
    serde = JsonPlusSerializer()
    if engine.dialect.name == "sqlite":
        return lambda connection: _sqlite_saver(_Part(_driver(connection)), serde)
    make = _postgres_saver()
    return lambda connection: make(_driver(connection), serde=serde)


def _driver(connection: Connection | None) -> Any:
    return None if connection is None else connection.connection.driver_connection


def _sqlite_saver(connection: Any, serde: JsonPlusSerializer) -> SqliteSaver:
    saver = SqliteSaver(connection, serde=serde)
    saver.is_setup = True  # when the database was opened: it would end the transaction
    return saver


class _Part:
    """A SQLite connection to whoever would commit on it: the transaction is somebody else's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def cursor(self) -> sqlite3.Cursor:
        return self._connection.cursor()

    def commit(self) -> None:
        pass


def _set_up_sqlite(engine: Engine, before: Path) -> None:
    raw = engine.raw_connection()
    try:
        connection: Any = raw.driver_connection
        SqliteSaver(connection).setup()
        if before.exists():
            _move(connection, before)
    except sqlite3.Error as e:
        raise StoreError(
            f"cannot keep thread checkpoints in {engine.url.database}: {e}; check that this user may write it"
        ) from e
    finally:
        raw.close()


def _move(connection: Any, before: Path) -> None:
    """The rows of an earlier version's file. Cut short, it is done again at the next start: the file goes last."""
    with contextlib.closing(sqlite3.connect(before)) as old:
        SqliteSaver(old).setup()  # whatever version wrote it, it has today's columns by now
    connection.execute("ATTACH DATABASE ? AS before", (str(before),))
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for table in _TABLES:
                columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
                connection.execute(
                    f"INSERT OR IGNORE INTO main.{table} ({columns}) SELECT {columns} FROM before.{table}"
                )
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    finally:
        connection.execute("DETACH DATABASE before")
    for name in (f"{before}-shm", f"{before}-wal", str(before)):
        Path(name).unlink(missing_ok=True)


def _set_up_postgres(engine: Engine) -> None:
    make = _postgres_saver()
    try:
        with engine.connect() as connection:
            # indexes are built concurrently, which no transaction allows
            connection.execution_options(isolation_level="AUTOCOMMIT")
            # Tried again and again, not waited for: building them waits for every statement that waits.
            deadline = time.monotonic() + SETUP_LIMIT_S
            while not connection.scalar(_TRY_LOCK):
                if time.monotonic() > deadline:
                    raise StoreError(
                        "cannot keep thread checkpoints: another server has been making the tables for long"
                    )
                time.sleep(0.05)
            try:
                make(_driver(connection)).setup()
            finally:
                connection.execute(_UNLOCK)
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as e:
        shown = engine.url.render_as_string(hide_password=True)
        raise StoreError(
            f"cannot keep thread checkpoints in {shown}: {e}; check that the database runs and that this user may make tables"
        ) from e


def _postgres_saver() -> Any:
    try:
        from langgraph.checkpoint.postgres import PostgresSaver
    except ImportError as e:
        raise StoreError(
            f"PostgreSQL needs packages that are not here: {e}; run pip install -e '.[postgres]' in hone's folder"
        ) from e
    return PostgresSaver
