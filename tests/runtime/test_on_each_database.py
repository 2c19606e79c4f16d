"""What a server does, on SQLite and on PostgreSQL alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from psycopg.pq import TransactionStatus
from sqlalchemy import event

import runtime.database
from runtime.agent.admission import Admission, Admissions, Mark
from runtime.database import open_database
from runtime.prompt import Renderer
from runtime.traces.store import TraceStore
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import ServedApp, served_app
from tests.runtime.thread_builder import Thread, answer
from tools.spec import SideEffect

BOOK = tool("book", side_effect=SideEffect.WRITE)
BOOK_OSLO = execute(("book", {"city": "Oslo"}))
WEATHER = execute(("weather", {"city": "Oslo"}))
SAID = "zanzibar-4711"


@contextmanager
def server_on(
    database_url: str, home: Path, renderer: Renderer, script: list[str], **settings: Any
) -> Iterator[ServedApp]:
    tools, results = [tool(), BOOK], {"weather": "sunny", "book": "booked"}
    with served_app(
        home, renderer, script, tools=tools, results=results, database_url=database_url, poll_s=0.05, **settings
    ) as server:
        yield server


def talk(server: ServedApp, text: str, thread: str = "t", **others: Any) -> dict[str, Any]:
    reply = server.chat(text, metadata={"thread": thread}, **others)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_a_thread_is_remembered_and_its_responses_are_found(
    database_url: str, tmp_path: Path, renderer: Renderer
) -> None:
    with server_on(database_url, tmp_path, renderer, [WEATHER, "Sunny.", "Welcome.", "Hi.", "Again."]) as server:
        talk(server, "weather in Oslo")
        talk(server, "thanks")
        assert "Sunny." in server.policy.prompts[-1]
        first = server.client.responses.create(model="hone", input="hi", instructions="be\0brief")
        second = server.client.responses.create(model="hone", input="more", previous_response_id=first.id)
        assert server.client.responses.retrieve(first.id).output_text == "Hi."
        assert second.output_text == "Again."
        assert "Hi." in server.policy.prompts[-1]


def test_characters_that_a_database_would_choke_on_are_kept(
    database_url: str, tmp_path: Path, renderer: Renderer
) -> None:
    odd = "a\0b \U0001f600 \ufffe \\u0000 'quote\""
    with server_on(database_url, tmp_path, renderer, ["One.", "Two."]) as server:
        messages = [{"role": "system", "content": odd}, {"role": "user", "content": odd}]
        body = {"model": "hone", "metadata": {"thread": "t"}, "messages": messages}
        assert server.http.post("/v1/chat/completions", json=body).status_code == 200
        talk(server, "more")
        assert server.policy.prompts[-1].count("a\0b") == 1
        assert server.policy.prompts[-1].count("a\ufffdb") == 1, "a system text has no NUL"


def test_a_question_outlives_the_server_and_its_answer_counts_once(
    database_url: str, tmp_path: Path, renderer: Renderer
) -> None:
    with server_on(database_url, tmp_path, renderer, [BOOK_OSLO]) as server:
        approval = talk(server, "book Oslo")["hone"]["approval"]["id"]
    settings = {"builtin_tools": False, "database_url": database_url, "poll_s": 0.05}
    with served_app(tmp_path, renderer, ["Booked."], results={"book": "booked"}, **settings) as server:
        given = server.http.post(f"/v1/approvals/{approval}/approve")
        assert given.status_code == 200, given.text
        assert given.json()["completion"]["choices"][0]["message"]["content"] == "Booked."
        assert server.http.post(f"/v1/approvals/{approval}/approve").status_code == 409


def test_a_thread_is_erased_with_its_checkpoints(database_url: str, tmp_path: Path, renderer: Renderer) -> None:
    with server_on(database_url, tmp_path, renderer, ["One.", "Two."]) as server:
        talk(server, f"{SAID} please", "mine")
        talk(server, "tea please", "other")
        assert rows_with(server, SAID)
        assert server.http.delete("/v1/threads/mine").status_code == 200
        assert rows_with(server, SAID) == []
        assert rows_with(server, "tea please")


def rows_with(server: ServedApp, text: str) -> list[str]:
    """Tables, or files, that hold the text."""
    if server.services.engine.dialect.name == "sqlite":
        files = [path for path in server.services.settings.home.rglob("*") if path.is_file()]
        return [path.name for path in files if text.encode() in path.read_bytes()]
    found = []
    with server.services.engine.connect() as connection:
        for name in sa.inspect(connection).get_table_names():
            for row in connection.execute(sa.text(f'SELECT * FROM "{name}"')):
                if any(text.encode() in (v if isinstance(v, bytes) else str(v).encode()) for v in row):
                    found.append(name)
    return found


@pytest.mark.parametrize("script", [["Hi."], [WEATHER, "Sunny."]])
def test_a_turn_that_only_reads_costs_two_commits(
    database_url: str, tmp_path: Path, renderer: Renderer, script: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row; and its end with the record, LangGraph's checkpoint and the journal's rows of what was read."""
    commits: list[list[str]] = []
    with server_on(database_url, tmp_path, renderer, ["Warm.", *script]) as server:
        talk(server, "hi")
        written: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
            verb, *words = statement.split()
            if verb in ("INSERT", "UPDATE", "DELETE"):
                written.append(words[0] if verb == "UPDATE" else words[1])

        def commit(connection: Any) -> None:
            if written and written != ["servers", "servers"]:  # the beat of this process, whatever it does
                commits.append(list(written))
            written.clear()

        for saver in (SqliteSaver, PostgresSaver):
            monkeypatch.setattr(saver, "put", noting(saver.put, written))
        engine = server.services.engine
        event.listen(engine, "before_cursor_execute", note)
        event.listen(engine, "commit", commit)
        talk(server, "weather in Oslo")
        event.remove(engine, "commit", commit)
        event.remove(engine, "before_cursor_execute", note)
    assert [each[0] for each in commits] == ["admissions", "admissions"], commits
    assert "checkpoint" in commits[1]


def noting(put: Any, written: list[str]) -> Any:
    """Notes that a checkpoint is written, and sees to it that what it is written in is no transaction of its own."""

    def noted(saver: Any, *args: Any) -> Any:
        written.append("checkpoint")
        given = put(saver, *args)
        connection = getattr(saver.conn, "_connection", saver.conn)
        if hasattr(connection, "in_transaction"):
            assert connection.in_transaction
        else:
            assert connection.info.transaction_status is TransactionStatus.INTRANS
        return given

    return noted


def test_turns_from_before_the_migration_are_kept_through_it_both_ways(database_url: str) -> None:
    engine = open_database(database_url)
    store = TraceStore(engine)
    (trace,) = Thread().says("hi").does(answer("Hi.")).traces
    store.record(trace)
    admissions = Admissions(engine, "me")
    made = admissions.admit(
        admission_id="a", trace_id=trace.id, thread_id="thread", mark=Mark(key="k"), plan={}, last_head=None
    )
    assert isinstance(made, Admission)
    config = Config()
    config.set_main_option("script_location", str(Path(runtime.database.__file__).parent / "migrations"))
    for migrate, revision in ((command.downgrade, "0009"), (command.upgrade, "head")):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            migrate(config, revision)
        assert ("admissions" in sa.inspect(engine).get_table_names()) is (revision == "head")
    assert store.get(trace.id) == trace
    assert admissions.running() == []
    engine.dispose()
