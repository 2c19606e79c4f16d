"""What LangGraph keeps of threads: opened where the database is, and forgotten without a trace in the file.

Beside a SQLite database they lie in a file of their own; a PostgreSQL database holds them itself, so that every server that shares
it has them.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import aiosqlite
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from sqlalchemy.engine import Engine

from runtime.errors import StoreError

ThreadCheckpoints: TypeAlias = BaseCheckpointSaver[Any]

POOL = 8
"""Connections at most."""
SETUP_LIMIT_S = 60.0
_SETUP_LOCK = 0x686F6E66
"""Key of PostgreSQL's advisory lock, so that of servers starting at once one makes the tables."""


@contextlib.asynccontextmanager
async def open_thread_checkpoints(engine: Engine, path: Path) -> AsyncIterator[ThreadCheckpoints]:
    """
    Args:
        engine: of the database that all else lies in.
        path: of their file, where that is SQLite.

    Raises: StoreError: PostgreSQL cannot be reached.
    """
    opened = _in_postgres(engine) if engine.dialect.name == "postgresql" else _in_file(path)
    async with opened as saver:
        yield saver


async def forget_thread(saver: ThreadCheckpoints, thread_id: str) -> None:
    """Of a file, also from the write-ahead log, unless somebody reads just then; their next checkpoint takes it along. PostgreSQL's
    own vacuum sees to its files."""
    await saver.adelete_thread(thread_id)
    if isinstance(saver, AsyncSqliteSaver):
        async with saver.lock:
            await saver.conn.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.asynccontextmanager
async def _in_file(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with aiosqlite.connect(path) as connection:
        await connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, as erasure promises
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        yield saver


@contextlib.asynccontextmanager
async def _in_postgres(engine: Engine) -> AsyncIterator[ThreadCheckpoints]:
    try:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg import AsyncConnection, Error
        from psycopg.rows import DictRow, dict_row
        from psycopg_pool import AsyncConnectionPool, PoolTimeout
    except ImportError as e:
        raise StoreError(f"PostgreSQL needs packages that are not here: {e}; run pip install 'hone[postgres]'") from e

    pool = AsyncConnectionPool(
        engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
        min_size=1,
        max_size=POOL,
        connection_class=AsyncConnection[DictRow],
        open=False,
        check=_check,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
    )
    shown = engine.url.render_as_string(hide_password=True)
    try:
        await pool.open(wait=True, timeout=30.0)
        saver = AsyncPostgresSaver(pool)
        async with pool.connection() as connection, asyncio.timeout(SETUP_LIMIT_S):
            # Tried again and again, not waited for: indexes are built concurrently, and that waits for every statement that waits.
            while not await _locked(connection):
                await asyncio.sleep(0.05)
            try:
                await saver.setup()
            finally:
                await connection.execute("SELECT pg_advisory_unlock(%s)", (_SETUP_LOCK,))
    except (Error, PoolTimeout, TimeoutError) as e:
        await pool.close()
        raise StoreError(
            f"cannot keep thread checkpoints in {shown}: {e}; check that the database runs and that this user may make tables"
        ) from e
    except BaseException:
        await pool.close()
        raise
    try:
        yield saver
    finally:
        await pool.close()


async def _check(connection: Any) -> None:
    """A connection that broke is replaced, not handed out."""
    from psycopg_pool import AsyncConnectionPool

    await AsyncConnectionPool.check_connection(connection)


async def _locked(connection: Any) -> bool:
    row = await (await connection.execute("SELECT pg_try_advisory_lock(%s) AS is_ours", (_SETUP_LOCK,))).fetchone()
    return row["is_ours"]
