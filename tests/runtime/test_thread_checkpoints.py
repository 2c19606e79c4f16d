"""What LangGraph keeps of threads lies in the one database, in our transactions, on each database."""

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

import pytest
import sqlalchemy as sa
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from runtime.agent.history import checkpoint_at
from runtime.agent.thread_checkpoints import PAGE, ThreadCheckpoints, open_thread_checkpoints
from runtime.database import open_database, together, writing
from runtime.errors import StoreError
from runtime.prompt import Renderer
from tests.runtime.agent_parts import running_agent

NOWHERE = Path("there is none")


class Counted(TypedDict):
    number: int
    said: list[str]


@pytest.fixture
def checkpoints(engine: sa.Engine) -> ThreadCheckpoints:
    return open_thread_checkpoints(engine, NOWHERE)


def one_more(state: Counted) -> Counted:
    return {"number": state["number"] + 1, "said": [*state["said"], "one more"]}


def graph_on(checkpoints: BaseCheckpointSaver[str]) -> Any:
    graph = StateGraph(Counted)
    graph.add_node("count", one_more)
    graph.add_edge(START, "count")
    graph.add_edge("count", END)
    return graph.compile(checkpointer=checkpoints)


async def count(checkpoints: ThreadCheckpoints, thread: str, number: int) -> None:
    """One run, which leaves `number + 1`; nothing is written."""
    await graph_on(checkpoints).ainvoke({"number": number, "said": []}, checkpoint_at(thread), durability="exit")


async def number(checkpoints: ThreadCheckpoints, thread: str) -> int | None:
    return (await graph_on(checkpoints).aget_state(checkpoint_at(thread))).values.get("number")


async def test_what_a_run_leaves_is_held_until_it_is_written(checkpoints: ThreadCheckpoints) -> None:
    await count(checkpoints, "a", 1)
    assert await number(checkpoints, "a") is None
    held = checkpoints.take("a")
    checkpoints.write(held)
    assert await number(checkpoints, "a") == 2
    state = await graph_on(checkpoints).aget_state(checkpoint_at("a"))
    assert state.config["configurable"]["checkpoint_id"] == held.latest
    assert state.values["said"] == ["one more"]
    assert await number(checkpoints, "b") is None


async def test_what_is_taken_and_let_go_was_never_there(checkpoints: ThreadCheckpoints) -> None:
    await count(checkpoints, "a", 1)
    checkpoints.take("a")
    checkpoints.write(checkpoints.take("a"))
    assert await number(checkpoints, "a") is None


async def test_it_is_undone_with_the_transaction_that_it_is_a_part_of(
    engine: sa.Engine, checkpoints: ThreadCheckpoints
) -> None:
    await count(checkpoints, "a", 1)
    checkpoints.write(checkpoints.take("a"))
    await count(checkpoints, "a", 7)
    held = checkpoints.take("a")

    def cut_short() -> None:
        with together(engine) as connection:
            checkpoints.write(held)
            checkpoints.forget(connection, "a")
            raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        cut_short()
    assert await number(checkpoints, "a") == 2
    checkpoints.write(held)
    assert await number(checkpoints, "a") == 8


async def test_a_long_history_is_read_page_by_page_newest_first(checkpoints: ThreadCheckpoints) -> None:
    for i in range(2 * PAGE + 3):
        await count(checkpoints, "a", i)
        checkpoints.write(checkpoints.take("a"))
    await count(checkpoints, "b", 100)
    checkpoints.write(checkpoints.take("b"))
    found = [
        each.values["number"]
        async for each in graph_on(checkpoints).aget_state_history(checkpoint_at("a"))
        if not each.next
    ]
    assert found == list(range(2 * PAGE + 3, 0, -1))
    assert len([each async for each in checkpoints.alist(checkpoint_at("a"), limit=PAGE + 1)]) == PAGE + 1


async def test_what_the_database_will_not_take_or_give_is_a_failure_of_the_store(
    engine: sa.Engine, checkpoints: ThreadCheckpoints
) -> None:
    await count(checkpoints, "a", 1)
    held = checkpoints.take("a")
    rename(engine, "checkpoints", "hidden")
    with pytest.raises(StoreError, match="checkpoints"):
        checkpoints.write(held)
    with pytest.raises(StoreError, match="checkpoints"):
        await number(checkpoints, "a")
    rename(engine, "hidden", "checkpoints")
    checkpoints.write(held)
    assert await number(checkpoints, "a") == 2


def rename(engine: sa.Engine, table: str, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE {table} RENAME TO {name}"))


async def test_a_turn_whose_checkpoint_was_not_taken_is_answered_and_written_later(
    tmp_path: Path, renderer: Renderer
) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'hone.db'}")

    def hide(*_: Any) -> str:
        rename(engine, "checkpoints", "hidden")
        return "Hello."

    async with running_agent(tmp_path, renderer, [hide, "Bye."]) as agent:
        result = await agent.say("hi", thread="t")
        assert result.reply.text == "Hello."
        assert agent.recorder.traces == []
        rename(engine, "hidden", "checkpoints")
        await agent.turns.write_late()
        assert [trace.id for trace in agent.recorder.traces] == [result.trace.id]
        await agent.say("and now", thread="t")
        assert "Hello." in agent.last_prompt
    engine.dispose()


async def test_a_forgotten_thread_leaves_the_others(engine: sa.Engine, checkpoints: ThreadCheckpoints) -> None:
    for thread in ("a", "b"):
        await count(checkpoints, thread, 1)
        checkpoints.write(checkpoints.take(thread))
    with writing(engine) as connection:
        checkpoints.forget(connection, "a")
    assert (await number(checkpoints, "a"), await number(checkpoints, "b")) == (None, 2)


async def test_servers_that_start_at_once_all_find_the_tables(database_url: str) -> None:
    def start(_: int) -> ThreadCheckpoints:
        return open_thread_checkpoints(open_database(database_url), NOWHERE)

    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(start, range(4)))
    await count(opened[0], "a", 1)
    opened[0].write(opened[0].take("a"))
    assert [await number(each, "a") for each in opened] == [2] * 4
    for each in opened:
        each._engine.dispose()


@pytest.mark.parametrize("has_paths", [True, False])
async def test_threads_of_an_earlier_versions_file_move_into_the_database(tmp_path: Path, has_paths: bool) -> None:
    before = tmp_path / "threads.db"
    with contextlib.closing(sqlite3.connect(before, check_same_thread=False)) as connection:
        saver = SqliteSaver(connection)
        graph_on(saver).invoke({"number": 4, "said": ["hi"]}, checkpoint_at("old"))
        if not has_paths:  # as LangGraph's own earlier versions made it
            connection.execute("ALTER TABLE writes DROP COLUMN task_path")
            connection.commit()
    engine = open_database(f"sqlite:///{tmp_path / 'hone.db'}")
    checkpoints = open_thread_checkpoints(engine, before)
    state = await graph_on(checkpoints).aget_state(checkpoint_at("old"))
    assert state.values == {"number": 5, "said": ["hi", "one more"]}
    assert list(tmp_path.glob("threads.db*")) == []
    await count(checkpoints, "old", 8)
    checkpoints.write(checkpoints.take("old"))
    assert await number(open_thread_checkpoints(engine, before), "old") == 9
    engine.dispose()


async def test_a_move_that_was_cut_short_is_done_again(tmp_path: Path) -> None:
    before = tmp_path / "threads.db"
    with contextlib.closing(sqlite3.connect(before, check_same_thread=False)) as connection:
        graph_on(SqliteSaver(connection)).invoke({"number": 4, "said": []}, checkpoint_at("old"))
    kept = before.read_bytes()
    engine = open_database(f"sqlite:///{tmp_path / 'hone.db'}")
    open_thread_checkpoints(engine, before)
    before.write_bytes(kept)  # the rows were committed, and the file was there still
    assert await number(open_thread_checkpoints(engine, before), "old") == 5
    assert not before.exists()
    engine.dispose()
