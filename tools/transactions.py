"""Transactions that only read, on both databases."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine import Connection, Engine

READ_ONLY = "hone_read_only"
"""Execution option of a connection: SQLite begins its transactions without the write lock, which all others take first."""


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the database, which never waits for a writer."""
    options: dict[str, Any] = {READ_ONLY: True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with engine.connect() as connection:
        yield connection.execution_options(**options)
