"""Opening, migrating and refusing databases."""

import asyncio
import base64
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import exc

import runtime.access.tables
import runtime.agent.tables
import runtime.approvals.tables
import runtime.database
import runtime.policy.deployment
import runtime.report.measurements
import runtime.traces.tables
import tools.tables
from runtime.database import UtcDateTime, close_database, dump_json, open_database, reading, writing
from runtime.errors import DatabaseTooNew, StoreError
from tools.master_keys import GivenKeys
from tools.secret_bounds import Bounds
from tools.secret_store import SecretStore

METADATA = [
    tools.tables.metadata,
    runtime.traces.tables.metadata,
    runtime.policy.deployment.metadata,
    runtime.agent.tables.metadata,
    runtime.report.measurements.metadata,
    runtime.approvals.tables.metadata,
    runtime.access.tables.metadata,
]


def test_the_migrations_make_exactly_the_tables_that_the_code_names(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []  # type: ignore[arg-type]  # a list of MetaData is allowed


def test_opening_again_keeps_what_is_there(database_url: str) -> None:
    first = open_database(database_url)
    with writing(first) as connection:
        connection.execute(sa.text("INSERT INTO deployments VALUES ('canary', NULL, '2026-05-03 00:00:00')"))
    first.dispose()
    second = open_database(database_url)
    with reading(second) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM deployments")) == 1
    second.dispose()


def test_several_servers_may_open_a_new_database_at_once(database_url: str) -> None:
    problems: list[Exception] = []

    def open_it() -> None:
        try:
            open_database(database_url).dispose()
        except Exception as e:  # any failure is the finding
            problems.append(e)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_database_of_a_newer_hone_is_refused_and_left_alone(database_url: str) -> None:
    made = open_database(database_url)
    with writing(made) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    made.dispose()
    with pytest.raises(DatabaseTooNew, match=r"'9999'.*upgrade hone"):
        open_database(database_url)
    raw = sa.create_engine(database_url)
    with raw.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"
    raw.dispose()


def test_a_secret_from_before_there_were_bounds_goes_nowhere_and_the_migration_goes_both_ways(
    database_url: str,
) -> None:
    engine = open_database(database_url)
    store = SecretStore(engine, GivenKeys(base64.b64encode(bytes(32)).decode()))
    store.set("PETS", "a-value", hosts=["api.example.com"])
    config = Config()
    config.set_main_option("script_location", str(Path(runtime.database.__file__).parent / "migrations"))
    for migrate, revision in ((command.downgrade, "0008"), (command.upgrade, "head")):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            migrate(config, revision)
        columns = {column["name"] for column in sa.inspect(engine).get_columns("secrets")}
        assert ({"hosts", "tools"} <= columns) is (revision == "head")
    assert store.find("PETS") == ("a-value", Bounds())
    assert store.bind("PETS", hosts=["api.example.com"]).hosts == ("api.example.com",)
    engine.dispose()


def test_a_failed_migration_leaves_nothing(database_url: str) -> None:
    raw = sa.create_engine(database_url)
    with raw.begin() as connection:
        connection.execute(sa.text("CREATE TABLE spans (foreign_to_us INTEGER)"))
    with pytest.raises(StoreError, match="spans"):
        open_database(database_url)
    assert set(sa.inspect(raw).get_table_names()) == {"spans"}
    raw.dispose()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hone.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"hone\.db.*restore it from a backup"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_damage_found_later_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "hone.db"
    engine = open_database(f"sqlite:///{path}")
    with reading(engine) as connection:
        page = connection.scalar(sa.text("SELECT rootpage FROM sqlite_schema WHERE name = 'spans'"))
    engine.dispose()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    engine = open_database(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="undamaged"), reading(engine) as connection:
        connection.execute(sa.text("SELECT * FROM spans")).all()
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("no url", "write sqlite:///PATH"),
        ("mysql://host/name", "write sqlite:///PATH"),
        ("postgresql+nodriver://host/name", "install"),
        ("sqlite:////proc/nowhere/hone.db", "name another place"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "name another place"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_a_remedy(url: str, remedy: str) -> None:
    with pytest.raises(StoreError, match=remedy) as caught:
        open_database(url)
    assert "secret" not in str(caught.value)


def test_instants_come_back_aware_and_in_utc(engine: sa.Engine) -> None:
    table = sa.Table("instants", sa.MetaData(), sa.Column("at", UtcDateTime()))
    there = datetime(2026, 5, 3, 1, 30, 0, 123456, tzinfo=timezone(timedelta(hours=5)))
    with writing(engine) as connection:
        table.create(connection)
        connection.execute(sa.insert(table).values(at=there))
    with reading(engine) as connection:
        (back,) = connection.scalars(sa.select(table.c.at)).all()
    assert back == there
    assert back.tzinfo is UTC


def test_an_instant_without_a_time_zone_is_refused(engine: sa.Engine) -> None:
    table = sa.Table("instants", sa.MetaData(), sa.Column("at", UtcDateTime()))
    with writing(engine) as connection:
        table.create(connection)
    with pytest.raises(exc.StatementError, match="no time zone"), writing(engine) as connection:
        connection.execute(sa.insert(table).values(at=datetime(2026, 5, 3)))


def test_a_block_that_raises_writes_nothing(engine: sa.Engine) -> None:
    def write_and_fail() -> None:
        with writing(engine) as connection:
            connection.execute(sa.text("INSERT INTO deployments VALUES ('canary', NULL, '2026-05-03 00:00:00')"))
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM deployments")) == 0


def test_threads_that_write_go_one_after_the_other_and_none_is_lost(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        connection.execute(sa.text("INSERT INTO deployments VALUES ('0', NULL, '2026-05-03 00:00:00')"))

    def count_up() -> None:
        for _ in range(20):
            with writing(engine) as connection:
                row = sa.text("UPDATE deployments SET channel = CAST(CAST(channel AS INTEGER) + 1 AS VARCHAR)")
                connection.execute(row)

    threads = [threading.Thread(target=count_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.scalar(sa.text("SELECT channel FROM deployments")) == "160"


def test_who_waits_too_long_for_another_writer_of_its_process_is_told(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/hone.db", busy_timeout_s=0.05)
    refusals: list[StoreError] = []

    def write() -> None:
        try:
            with writing(engine):
                pass
        except StoreError as e:
            refusals.append(e)

    with writing(engine):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert "locked by another thread" in str(refusals[0])
    write()  # the gate is open again
    assert len(refusals) == 1
    engine.dispose()


def test_a_reader_sees_one_moment_while_another_writes(engine: sa.Engine) -> None:
    count = sa.text("SELECT count(*) FROM deployments")
    with reading(engine) as reader:
        assert reader.scalar(count) == 0
        with writing(engine) as writer:
            writer.execute(sa.text("INSERT INTO deployments VALUES ('canary', NULL, '2026-05-03 00:00:00')"))
        assert reader.scalar(count) == 0
    with reading(engine) as reader:
        assert reader.scalar(count) == 1


def test_json_that_has_no_form_is_kept_as_text() -> None:
    assert dump_json({"a": [float("nan"), 1.5]}) == '{"a": ["nan", 1.5]}'
    assert dump_json("a\0\ud800") == '"a\\u0000\\ud800"'


async def test_a_database_is_closed_when_the_threads_that_are_at_it_are_done(engine: sa.Engine) -> None:
    held: list[Any] = []
    began, done = threading.Event(), threading.Event()

    def read() -> None:
        with reading(engine) as connection:
            held.append(connection.connection.driver_connection)
            connection.execute(sa.text("SELECT 1"))
            began.set()
            done.wait(10)

    at_it = asyncio.create_task(asyncio.to_thread(read))
    assert await asyncio.to_thread(began.wait, 10)
    at_it.cancel()  # the task is over, the thread is not
    closing = asyncio.create_task(close_database(engine))
    finished, _ = await asyncio.wait([closing], timeout=0.05)
    assert not finished
    done.set()
    await closing
    with pytest.raises(Exception, match="closed"):
        held[0].execute("SELECT 1")
