"""Turns that a dead server left, from each point that it can have come to. Real kills are in tests/faults."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from runtime.agent.admission import Admission, Admissions, Mark, State
from runtime.agent.consent import ConsentRules
from runtime.agent.recovery import SUSPECT_RUNS
from runtime.agent.tables import admissions, thread_heads
from runtime.agent.turns import MOST_RUNS
from runtime.approvals.schema import ApprovalState, Verdict
from runtime.approvals.tables import approvals
from runtime.database import open_database
from runtime.errors import StoreError
from runtime.prompt import Renderer
from runtime.traces.schema import TraceStatus
from tests.runtime.agent_parts import Agent, execute, running_agent, tool
from tools.spec import ApprovalRule, CallStatus, SideEffect

CALL = execute(("weather", {"city": "Oslo"}))
BOOK_OSLO = execute(("book", {"city": "Oslo"}))
RESULTS = {"weather": "sunny", "book": "booked"}
ASKING = tool("book", side_effect=SideEffect.WRITE)
WAIVED = tool("book", side_effect=SideEffect.WRITE, approval=ApprovalRule.WAIVED)
ALL = ConsentRules(waived=frozenset("*"), trusted=frozenset("*"))


def leave(home: Path, **others: Any) -> None:
    """Makes the newest row what a server leaves that dies in its turn."""
    engine = open_database(f"sqlite:///{home / 'hone.db'}")
    newest = sa.select(sa.func.max(admissions.c.created_at)).scalar_subquery()
    left = {"state": State.RUNNING.value, "owner": "dead", "reply": None, "ended_at": None, **others}
    with engine.begin() as connection:
        connection.execute(sa.update(admissions).where(admissions.c.created_at == newest).values(left))
    engine.dispose()


def copy_left(home: Path, count: int) -> None:
    """As many turns as `count` of what `leave` left, each in a thread of its own."""
    engine = open_database(f"sqlite:///{home / 'hone.db'}")
    with engine.begin() as connection:
        row = connection.execute(sa.select(admissions)).mappings().one()
        for n in range(1, count):
            copied = {**row, "id": f"adm_{n}", "trace_id": f"trace_{n}", "thread_id": f"t{n}"}
            connection.execute(sa.insert(admissions).values({k: v for k, v in copied.items() if k != "seq"}))
    engine.dispose()


def forget(home: Path, table: sa.Table) -> None:
    engine = open_database(f"sqlite:///{home / 'hone.db'}")
    with engine.begin() as connection:
        connection.execute(sa.delete(table))
    engine.dispose()


async def take_up(agent: Agent) -> None:
    await agent.recovery.look()
    async with asyncio.timeout(20):
        while await asyncio.to_thread(agent.admissions.running):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


async def plan_of(agent: Agent, text: str) -> dict[str, Any]:
    """What is kept of a turn while it runs; the turn then ends."""
    agent.policy.gate = asyncio.Event()
    saying = asyncio.create_task(agent.say(text, thread="t"))
    while not agent.policy.prompts:
        await asyncio.sleep(0)
    (running,) = await asyncio.to_thread(agent.admissions.running)
    row = await asyncio.to_thread(agent.admissions.get, running.id)
    assert row is not None
    assert row.plan is not None
    agent.policy.gate.set()
    await saying
    return dict(row.plan)


async def test_a_turn_that_had_called_nothing_is_begun_anew_under_its_name(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Lost.", CALL, "Sunny."], tools=[tool()], results=RESULTS) as agent:
        plan = await plan_of(agent, "weather in Oslo")
        (lost,) = agent.recorder.traces
        forget(tmp_path, thread_heads)
        leave(tmp_path, plan=plan, trace_id="trace_other")
        await take_up(agent)
        trace = agent.recorder.get("trace_other")
    assert (trace.status, trace.runs, trace.thread_id) == (TraceStatus.FINISHED, 2, "t")
    assert trace.resumed_at is not None
    assert trace.created_at == lost.created_at
    assert agent.policy.prompts[1] == agent.policy.prompts[0]
    assert [call_id for *_, call_id in agent.executor.calls] == ["call_other_r2_0_0"], "not taken for a lost decision"


async def test_a_turn_that_ends_its_servers_is_given_up_with_the_reason(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Lost."]) as agent:
        plan = await plan_of(agent, "hi")
        leave(tmp_path, plan=plan, trace_id="trace_other", runs=MOST_RUNS)
        await take_up(agent)
        trace = agent.recorder.get("trace_other")
        assert not await asyncio.to_thread(agent.admissions.is_running, "t")
    assert trace.status is TraceStatus.FAILED
    assert trace.error is not None
    assert "servers ended while this turn ran" in trace.error
    assert trace.runs == MOST_RUNS + 1


@pytest.mark.parametrize(("runs", "at_once"), [(SUSPECT_RUNS - 1, 3), (SUSPECT_RUNS, 1)])
async def test_turns_that_servers_ended_in_again_and_again_are_taken_up_one_after_the_other(
    tmp_path: Path, renderer: Renderer, runs: int, at_once: int
) -> None:
    async with running_agent(tmp_path, renderer, ["Lost.", *["Found."] * 3]) as agent:
        plan = await plan_of(agent, "hi")
        forget(tmp_path, thread_heads)
        leave(tmp_path, plan=plan, trace_id="trace_0", thread_id="t0", runs=runs)
        copy_left(tmp_path, 3)
        agent.policy.gate = asyncio.Event()
        await agent.recovery.look()
        async with asyncio.timeout(20):
            while len(agent.policy.prompts) < 1 + at_once:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert len(agent.policy.prompts) == 1 + at_once
        taken = [row.runs for row in await asyncio.to_thread(agent.admissions.running)]
        assert sorted(taken) == [runs] * (3 - at_once) + [runs + 1] * at_once, "who waits has not run once more"
        agent.policy.gate.set()
        await take_up(agent)
        ended = [agent.recorder.get(f"trace_{n}") for n in range(3)]
    assert {(trace.status, trace.runs) for trace in ended} == {(TraceStatus.FINISHED, runs + 1)}


async def test_a_turn_that_had_ended_but_for_its_record_is_recorded_and_not_run(
    tmp_path: Path, renderer: Renderer
) -> None:
    async with running_agent(tmp_path, renderer, ["One.", "Two."]) as agent:
        plan = await plan_of(agent, "first")
        (told,) = agent.recorder.traces
        agent.recorder.traces.clear()
        forget(tmp_path, thread_heads)
        leave(tmp_path, plan=plan)
        await take_up(agent)
        assert agent.recorder.get(told.id).spans == told.spans
        assert len(agent.policy.prompts) == 1
        await agent.say("second", thread="t")
        assert "One." in agent.last_prompt


async def test_a_turn_that_was_about_to_ask_a_person_asks(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [BOOK_OSLO, "Booked."], tools=[ASKING], results=RESULTS) as agent:
        plan = await plan_of(agent, "book Oslo")
        forget(tmp_path, approvals)
        forget(tmp_path, thread_heads)
        leave(tmp_path, plan=plan)
        await take_up(agent)
        (asked,) = agent.approvals.list(state=ApprovalState.PENDING)
        assert agent.recorder.traces[-1].status is TraceStatus.WAITING
        assert agent.executor.calls == []
        done = await (await agent.answers.decide(asked.id, Verdict.APPROVE, via="http")).result()
    assert done.reply.text == "Booked."
    assert len(agent.executor.calls) == 1


async def test_an_approved_turn_that_was_cut_off_goes_on_from_where_it_waited(
    tmp_path: Path, renderer: Renderer
) -> None:
    script = [BOOK_OSLO, "Booked."]
    async with running_agent(tmp_path, renderer, script, tools=[ASKING], results=RESULTS) as agent:
        await agent.say("book Oslo", thread="t")
        (asked,) = agent.approvals.list(state=ApprovalState.PENDING)
        given = agent.approvals.decide(asked.id, Verdict.APPROVE, via="http")
        thread = await agent.threads.hold("t")
        agent.threads.close(thread)
        engine = open_database(f"sqlite:///{tmp_path / 'hone.db'}")
        row = Admissions(engine, "dead").admit(
            admission_id="adm_cut",
            trace_id=given.trace_id,
            thread_id="t",
            mark=Mark(),
            plan=None,
            last_head=thread.last_head,
            approval_id=given.id,
        )
        engine.dispose()
        assert isinstance(row, Admission)
        await take_up(agent)
        trace = agent.recorder.get(given.trace_id)
        assert await asyncio.to_thread(agent.approvals.due) == []
    assert (trace.status, trace.runs) == (TraceStatus.FINISHED, 2)
    assert [outcome.status for outcome in trace.spans[0].outcomes] == [CallStatus.OK]


async def test_a_decision_that_was_about_to_act_is_carried_out_as_it_was_made(
    tmp_path: Path, renderer: Renderer
) -> None:
    """The server dies when the decision is kept and nothing is called: the very same calls are made, under the same ids."""
    script = [BOOK_OSLO, "Booked."]
    async with running_agent(tmp_path, renderer, script, tools=[WAIVED], results=RESULTS, consent=ALL) as agent:
        keep = agent.turns._endings.keep
        plans: list[Any] = []

        def die(admission: Any, progress: Any) -> None:
            keep(admission, progress)
            plans.append(admission.plan)
            raise RuntimeError("the server dies here")

        agent.turns._endings.keep = die  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            await agent.say("book Oslo", thread="t")
        agent.turns._endings.keep = keep  # type: ignore[method-assign]
        assert agent.executor.calls == []
        trace_id = agent.recorder.traces.pop().id
        leave(tmp_path, plan=plans[0])
        await take_up(agent)
        trace = agent.recorder.get(trace_id)
    assert (trace.status, trace.runs) == (TraceStatus.FINISHED, 2)
    (call,) = agent.executor.calls
    assert call[2] == f"call_{trace_id.removeprefix('trace_')[:24]}_0_0"
    assert len(agent.policy.prompts) == 2


async def test_the_end_of_a_turn_that_the_database_would_not_take_is_written_when_it_does(
    tmp_path: Path, renderer: Renderer
) -> None:
    async with running_agent(tmp_path, renderer, ["One.", "Two."]) as agent:
        agent.recorder.failure = StoreError("the disk is full")
        told = await agent.say("first", thread="t")
        assert told.reply.text == "One."
        assert await asyncio.to_thread(agent.admissions.is_running, "t"), "nobody goes on in a thread that is not whole"
        agent.recorder.failure = None
        await take_up(agent)
        assert agent.recorder.traces == [told.trace]
        await agent.say("second", thread="t")
        assert "One." in agent.last_prompt
    assert len(agent.policy.prompts) == 2
