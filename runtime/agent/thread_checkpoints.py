"""What LangGraph keeps of threads: opened, and forgotten without a trace in the file."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver


@contextlib.asynccontextmanager
async def open_thread_checkpoints(path: Path) -> AsyncIterator[AsyncSqliteSaver]:
    async with aiosqlite.connect(path) as connection:
        await connection.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, as erasure promises
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        yield saver


async def forget_thread(saver: AsyncSqliteSaver, thread_id: str) -> None:
    """Also from the write-ahead log, unless somebody reads just then; their next checkpoint takes it along."""
    await saver.adelete_thread(thread_id)
    async with saver.lock:
        await saver.conn.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
