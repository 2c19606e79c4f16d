"""Calls that wait for a person: what waits, what lets them run, and what the thread remembers of it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from langgraph.runtime import Runtime

from runtime.agent.consent import WORDS, ConsentRules, call_digest
from runtime.agent.messages import PendingCall
from runtime.agent.nodes import Nodes
from runtime.agent.running import TurnResult
from runtime.agent.state import Limits, TurnContext
from runtime.approvals.schema import Approval, ApprovalState, Use, Verdict, Why
from runtime.database import utc_now
from runtime.decision import DecisionKind, Execute, ToolCall
from runtime.errors import ApprovalExpired, ApprovalNotFound, ApprovalSpent, PolicyUnavailable
from runtime.policy.base import SamplingParams
from runtime.prompt import Renderer
from runtime.traces.schema import TraceStatus
from runtime.verify.verdict import judge_thread
from tests.runtime.agent_parts import Agent, Serving, assistant, client_tool, execute, running_agent, tool, user
from tools.spec import ApprovalRule, BuiltinBackend, CallStatus, ClientBackend, HttpBackend, SideEffect, ToolSpec

OUTSIDE = HttpBackend(url="https://shop.example/x")
BOOK = tool("book", side_effect=SideEffect.WRITE)
WAIVED = tool("book", side_effect=SideEffect.WRITE, approval=ApprovalRule.WAIVED)
ALWAYS = tool("book", approval=ApprovalRule.ALWAYS)
RENAME = tool("rename", side_effect=SideEffect.IDEMPOTENT)
READ = tool("weather", backend=OUTSIDE)
BOOK_OSLO = execute(("book", {"city": "Oslo"}))
RESULTS = {"book": "booked", "weather": "sunny", "rename": "renamed"}
ALL = ConsentRules(waived=frozenset("*"))


@dataclass
class Clock:
    now: datetime = field(default_factory=utc_now)

    def __call__(self) -> datetime:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def agent_with(
    home: Path, renderer: Renderer, script: Sequence[Any], tools: Sequence[ToolSpec] = (BOOK,), **others: Any
):
    return running_agent(home, renderer, script, tools=tools, results=RESULTS, **others)


async def answer(agent: Agent, approval_id: str, verdict: Verdict, **others: Any) -> TurnResult:
    return await (await agent.answers.decide(approval_id, verdict, via="http", **others)).result()


def waiting(result: TurnResult) -> str:
    """Id of the approval that a turn waits for."""
    assert result.reply.approval is not None
    return result.reply.approval.id


async def test_a_write_waits_and_says_what_it_would_do(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO]) as agent:
        result = await agent.say("book Oslo")
        assert agent.executor.calls == []
        assert (result.trace.status, result.reply.decision) == (TraceStatus.WAITING, DecisionKind.EXECUTE)
        assert result.reply.approval is not None
        assert (result.reply.approval.tool, result.reply.approval.arguments) == ("book", {"city": "Oslo"})
        for part in ("book", '"city": "Oslo"', "approve", "decline"):
            assert part in result.reply.text
        assert [a.state for a in agent.approvals.list()] == [ApprovalState.PENDING]


async def test_an_approved_call_runs_once_and_its_turn_ends_as_one(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Booked."]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        done = await answer(agent, waiting(asked), Verdict.APPROVE)
        assert [call[:2] for call in agent.executor.calls] == [("book", {"city": "Oslo"})]
        assert done.reply.text == "Booked."
        assert done.trace.id == asked.trace.id
        assert done.trace.status is TraceStatus.FINISHED
        assert [span.index for span in done.trace.spans] == [0, 1]
        with pytest.raises(ApprovalSpent):
            await answer(agent, waiting(asked), Verdict.APPROVE)
        assert len(agent.executor.calls) == 1


async def test_the_policy_sees_call_and_result_and_not_the_question(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Booked.", "Bye."]) as agent:
        await answer(agent, waiting(await agent.say("book Oslo", thread="t")), Verdict.APPROVE)
        await agent.say("thanks", thread="t")
        seen = agent.recorder.traces[-1].spans[0].messages
    assert [m["content"] for m in seen] == ["book Oslo", "", "booked", "Booked.", "thanks"]
    assert all("trusted" not in message for message in seen)


async def test_a_declined_call_is_never_run_and_the_policy_is_told(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Then I won't."]) as agent:
        done = await answer(agent, waiting(await agent.say("book Oslo")), Verdict.DECLINE)
        assert agent.executor.calls == []
        assert "declined this call" in agent.last_prompt
        assert done.reply.text == "Then I won't."
        assert [o.status for o in done.trace.spans[0].outcomes] == [CallStatus.DECLINED]


@pytest.mark.parametrize("word", [*WORDS, " Approve\n", "DECLINE"])
async def test_a_word_right_after_the_question_answers_it(tmp_path: Path, renderer: Renderer, word: str) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Done.", "Bye."]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        done = await agent.say(word, thread="t")
        assert done.trace.id == asked.trace.id
        assert len(agent.executor.calls) == (WORDS[word.strip().lower()] is Verdict.APPROVE)
        await agent.say("bye", thread="t")
        assert "May I run" not in agent.last_prompt


async def test_a_client_without_threads_answers_by_sending_it_all_again(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Booked.", "Bye."]) as agent:
        asked = await agent.say("book Oslo")
        said = [user("book Oslo"), assistant(asked.reply.text), user("approve")]
        done = await agent.say(*said)
        assert done.reply.text == "Booked."
        await agent.say(*said, assistant("Booked."), user("bye"))
        assert {trace.thread_id for trace in agent.recorder.traces} == {asked.trace.thread_id}
        assert "booked" in agent.last_prompt


@pytest.mark.parametrize("seen", ["with", "without"])
async def test_a_client_that_was_not_told_of_the_result_stays_in_the_thread(
    tmp_path: Path, renderer: Renderer, seen: str
) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Booked.", "Bye."]) as agent:
        asked = await agent.say("book Oslo")
        done = await answer(agent, waiting(asked), Verdict.APPROVE)
        told = [assistant(done.reply.text)] if seen == "with" else []
        after = await agent.say(user("book Oslo"), assistant(asked.reply.text), *told, user("bye"))
        assert after.trace.thread_id == asked.trace.thread_id
        assert "Booked." in agent.last_prompt


@pytest.mark.parametrize("text", ["yes", "ok, approve", "approve it", "approved", "no", "I approve", "approve!"])
async def test_other_words_answer_nothing(tmp_path: Path, renderer: Renderer, text: str) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Say approve.", "Booked."]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        between = await agent.say(text, thread="t")
        assert between.trace.id != asked.trace.id
        assert "May I run book" in agent.last_prompt, "the policy knows what the user is talking about"
        assert agent.executor.calls == []
        assert agent.approvals.get(waiting(asked)).state is ApprovalState.PENDING
        done = await answer(agent, waiting(asked), Verdict.APPROVE)
        assert len(agent.executor.calls) == 1
        contents = [m["content"] for m in done.trace.spans[-1].messages]
        assert contents == ["book Oslo", asked.reply.text, text, "Say approve.", "", "booked"]


async def test_a_word_counts_only_right_after_the_question(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "It costs 5.", "Approve what?"]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        await agent.say("what does it cost?", thread="t")
        await agent.say("approve", thread="t")
        assert agent.executor.calls == []
        assert agent.approvals.get(waiting(asked)).state is ApprovalState.PENDING


async def test_a_word_in_another_thread_answers_nothing(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Approve what?"]) as agent:
        asked = await agent.say("book Oslo", thread="a")
        await agent.say("approve", thread="b")
        assert agent.approvals.get(waiting(asked)).state is ApprovalState.PENDING
        assert agent.executor.calls == []


async def test_a_later_question_does_not_shut_out_an_earlier_one(tmp_path: Path, renderer: Renderer) -> None:
    bergen = execute(("book", {"city": "Bergen"}))
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, bergen, "Oslo.", "Bergen."]) as agent:
        first = await agent.say("book Oslo", thread="t")
        second = await agent.say("and Bergen", thread="t")
        assert (await answer(agent, waiting(first), Verdict.APPROVE)).reply.text == "Oslo."
        assert (await answer(agent, waiting(second), Verdict.APPROVE)).reply.text == "Bergen."
        assert [call[1]["city"] for call in agent.executor.calls] == ["Oslo", "Bergen"]


async def test_several_calls_are_asked_for_one_by_one_and_nothing_runs_before_all_are_answered(
    tmp_path: Path, renderer: Renderer
) -> None:
    both = execute(("book", {"city": "Oslo"}), ("weather", {"city": "Oslo"}), ("book", {"city": "Bergen"}))
    async with agent_with(tmp_path, renderer, [both, "Done."], [BOOK, READ]) as agent:
        first = await agent.say("book both", thread="t")
        second = await agent.say("approve", thread="t")
        assert agent.executor.calls == []
        assert second.trace.status is TraceStatus.WAITING
        assert second.reply.approval is not None
        assert second.reply.approval.arguments == {"city": "Bergen"}
        done = await agent.say("decline", thread="t")
        assert {r.trace.id for r in (first, second, done)} == {done.trace.id}
        statuses = [o.status for o in done.trace.spans[0].outcomes]
        assert statuses == [CallStatus.OK, CallStatus.OK, CallStatus.DECLINED]
        assert [name for name, _, _ in agent.executor.calls] == ["book", "weather"]


async def test_a_wait_survives_a_restart(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO]) as agent:
        asked = await agent.say("book Oslo", thread="t")
    async with agent_with(tmp_path, renderer, ["Booked."]) as agent:
        done = await agent.say("approve", thread="t")
        assert done.reply.text == "Booked."
        assert done.trace.id == asked.trace.id
        assert done.trace.created_at == asked.trace.created_at
        assert len(agent.executor.calls) == 1


async def test_an_answer_that_came_while_nothing_ran_counts_at_the_next_start(
    tmp_path: Path, renderer: Renderer
) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        agent.approvals.decide(waiting(asked), Verdict.APPROVE, via="command line")
    async with agent_with(tmp_path, renderer, ["Booked."]) as agent:
        await agent.answers.catch_up()
        await agent.answers.catch_up()
        await settled(agent, waiting(asked))
        assert len(agent.executor.calls) == 1
        assert agent.recorder.traces[-1].status is TraceStatus.FINISHED


async def settled(agent: Agent, approval_id: str) -> Approval:
    """The approval, once its turn has gone on."""
    while (found := agent.approvals.get(approval_id)).settled_at is None:
        await asyncio.sleep(0.01)
    return found


async def test_a_call_that_had_begun_when_the_server_died_is_not_begun_again(
    tmp_path: Path, renderer: Renderer
) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        given = agent.approvals.decide(waiting(asked), Verdict.APPROVE, via="http")
        agent.approvals.use(given.id, thread_id="t", digest=given.ask.digest)
    async with agent_with(tmp_path, renderer, ["I can't tell."]) as agent:
        await agent.answers.catch_up()
        await settled(agent, given.id)
        assert agent.executor.calls == []
        assert "not known" in agent.last_prompt


async def test_nobody_answers_in_time(tmp_path: Path, renderer: Renderer) -> None:
    clock = Clock()
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Nobody said yes."], clock=clock) as agent:
        asked = await agent.say("book Oslo", thread="t")
        clock.pass_s(3600)
        with pytest.raises(ApprovalExpired):
            await answer(agent, waiting(asked), Verdict.APPROVE)
        await agent.answers.catch_up()
        found = await settled(agent, waiting(asked))
        assert found.state is ApprovalState.EXPIRED
        assert agent.executor.calls == []
        assert [o.status for o in agent.recorder.traces[-1].spans[0].outcomes] == [CallStatus.LAPSED]


async def test_an_approval_that_runs_out_before_its_call_is_worth_nothing(tmp_path: Path, renderer: Renderer) -> None:
    clock = Clock()
    both = execute(("book", {"city": "Oslo"}), ("book", {"city": "Bergen"}))
    async with agent_with(tmp_path, renderer, [both, "Only Bergen."], clock=clock) as agent:
        await agent.say("book both", thread="t")
        clock.pass_s(3599)
        await agent.say("approve", thread="t")
        clock.pass_s(2)
        await agent.say("approve", thread="t")
        assert [call[1]["city"] for call in agent.executor.calls] == ["Bergen"]


async def test_another_threads_approval_is_not_found(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO]) as agent:
        asked = await agent.say("book Oslo", thread="a")
        for unknown in ({"thread_id": "b"}, {"thread_id": ""}):
            with pytest.raises(ApprovalNotFound):
                await answer(agent, waiting(asked), Verdict.APPROVE, **unknown)
        with pytest.raises(ApprovalNotFound):
            await answer(agent, "approval_made_up", Verdict.APPROVE)
        assert agent.executor.calls == []
        assert agent.approvals.get(waiting(asked)).state is ApprovalState.PENDING


async def test_an_approval_of_other_arguments_lets_nothing_run(tmp_path: Path, renderer: Renderer) -> None:
    bergen = execute(("book", {"city": "Bergen"}))
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, bergen, "Not booked."]) as agent:
        oslo = await agent.say("book Oslo", thread="t")
        other = await agent.say("book Bergen", thread="u")
        given = agent.approvals.decide(waiting(oslo), Verdict.APPROVE, via="http")
        mine = agent.approvals.get(waiting(other))
        forged = given.model_copy(update={"checkpoint_id": mine.checkpoint_id, "thread_id": "u", "length": mine.length})
        thread = await agent.threads.hold("u")
        done = await (await agent.turns.go_on(thread, forged)).result()
        assert agent.executor.calls == []
        assert [o.status for o in done.trace.spans[0].outcomes] == [CallStatus.LAPSED]


async def test_a_call_altered_after_its_approval_does_not_run(tmp_path: Path, renderer: Renderer) -> None:
    bergen = Execute(calls=(ToolCall(name="book", arguments={"city": "Bergen"}),))
    async with agent_with(tmp_path, renderer, [BOOK_OSLO]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        given = agent.approvals.decide(waiting(asked), Verdict.APPROVE, via="http")
        (span,) = asked.trace.spans
        altered = span.model_copy(update={"decision": bergen}).model_dump(mode="json")
        state: Any = {
            "messages": [],
            "spans": [altered],
            "asks": [given.ask.model_dump(mode="json")],
            "consents": {given.ask.call_id: {"approval": given.id, "state": given.state.value}},
        }
        context = TurnContext("t", None, SamplingParams(), {"book": BOOK}, deadline=float("inf"))
        nodes = Nodes(agent.policy, renderer, agent.executor, Limits(), agent.approvals)
        changed = await nodes.execute(state, Runtime(context=context))
        assert agent.executor.calls == []
        assert changed["spans"][0]["outcomes"][0]["status"] == "lapsed"


@pytest.mark.parametrize(
    ("spec", "makes_once", "asked_again"), [(BOOK, True, True), (BOOK, False, False), (ALWAYS, True, False)]
)
async def test_what_came_of_an_approved_call_that_was_begun_is_asked_of_who_keeps_it_on_record(
    tmp_path: Path, renderer: Renderer, spec: ToolSpec, makes_once: bool, asked_again: bool
) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Done."], [spec]) as agent:
        agent.executor.makes_each_call_once = makes_once
        asked = await agent.say("book Oslo", thread="t")
        given = agent.approvals.decide(waiting(asked), Verdict.APPROVE, via="http")
        assert agent.approvals.use(given.id, thread_id="t", digest=given.ask.digest) is Use.GRANTED
        thread = await agent.threads.hold("t")
        done = await (await agent.turns.go_on(thread, given)).result()
    (outcome,) = done.trace.spans[0].outcomes
    assert [call_id for _, _, call_id in agent.executor.calls] == ([given.ask.call_id] if asked_again else [])
    assert outcome.status is (CallStatus.OK if asked_again else CallStatus.FAILED)


@pytest.mark.parametrize(
    "other",
    [
        ("u", "c", BOOK, {"n": 1}),
        ("t", "d", BOOK, {"n": 1}),
        ("t", "c", RENAME, {"n": 1}),
        ("t", "c", BOOK.model_copy(update={"timeout_s": 9.0}), {"n": 1}),
        ("t", "c", BOOK, {"n": 2}),
        ("t", "c", BOOK, {"n": 1.0}),
        ("t", "c", BOOK, {"n": "1"}),
        ("t", "c", BOOK, {"n": True}),
        ("t", "c", BOOK, {"n": 1, "m": None}),
    ],
)
def test_an_approval_is_bound_to_all_that_it_was_given_for(other: tuple[str, str, ToolSpec, dict[str, Any]]) -> None:
    def digest(thread: str, call: str, spec: ToolSpec, arguments: dict[str, Any]) -> str:
        return call_digest(thread, PendingCall(id=call, call=ToolCall(name=spec.name, arguments=arguments)), spec)

    assert digest("t", "c", BOOK, {"n": 1}) != digest(*other)
    assert digest("t", "c", BOOK, {"a": 1, "b": 2}) == digest("t", "c", BOOK, {"b": 2, "a": 1})


async def test_a_tool_that_changed_meanwhile_is_not_called(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "It changed."]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        agent.toolbox.specs = [BOOK.model_copy(update={"description": "Books two."})]
        done = await answer(agent, waiting(asked), Verdict.APPROVE)
        assert agent.executor.calls == []
        assert [o.status for o in done.trace.spans[0].outcomes] == [CallStatus.UNKNOWN_TOOL]


@pytest.mark.parametrize(
    ("spec", "rules", "waits"),
    [
        (BOOK, ConsentRules(), True),
        (BOOK, ALL, True),
        (WAIVED, ConsentRules(), True),
        (WAIVED, ConsentRules(waived=frozenset({"other"})), True),
        (WAIVED, ConsentRules(waived=frozenset({"book"})), False),
        (WAIVED, ALL, False),
        (tool("book"), ConsentRules(), False),
        (tool("book", approval=ApprovalRule.ALWAYS), ALL, True),
        (tool("book", side_effect=SideEffect.IDEMPOTENT), ConsentRules(), False),
    ],
)
async def test_developer_and_operator_together_waive(
    tmp_path: Path, renderer: Renderer, spec: ToolSpec, rules: ConsentRules, waits: bool
) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Booked."], [spec], consent=rules) as agent:
        result = await agent.say("book Oslo")
    assert (result.reply.approval is not None) is waits


@pytest.mark.parametrize("spec", [tool("book"), RENAME, WAIVED, client_tool("book")], ids=lambda s: s.name)
@pytest.mark.parametrize(("floor", "waits"), [(0.0, False), (1e-30, False), (0.5, True)])
async def test_a_call_that_the_policy_is_unsure_of_waits_where_the_operator_says_so(
    tmp_path: Path, renderer: Renderer, spec: ToolSpec, floor: float, waits: bool
) -> None:
    rules = ConsentRules(waived=frozenset("*"), confirm_below=floor)
    script = [execute((spec.name, {"city": "Oslo"})), "Booked."]
    async with agent_with(tmp_path, renderer, script, [spec], consent=rules) as agent:
        result = await agent.say("book Oslo", thread="t")
        if isinstance(spec.backend, ClientBackend):  # what runs at the client is the client's to hold
            assert (result.reply.approval, [part.call.name for part in result.reply.calls]) == (None, ["book"])
            return
        assert (result.reply.approval.why if result.reply.approval else None) == (Why.UNSURE if waits else None)
        assert bool(agent.executor.calls) is not waits
        if waits:
            assert "I am not sure" in result.reply.text
            await answer(agent, waiting(result), Verdict.APPROVE)
            assert [(name, arguments) for name, arguments, _ in agent.executor.calls] == [(spec.name, {"city": "Oslo"})]


async def test_the_weightier_reason_is_given_for_an_unsure_write(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO], consent=ConsentRules(confirm_below=0.5)) as agent:
        result = await agent.say("book Oslo")
    assert result.reply.approval is not None
    assert result.reply.approval.why == Why.WRITES


@pytest.mark.parametrize(
    ("reader", "rules", "asks"),
    [
        (READ, ALL, Why.UNTRUSTED),
        (READ, ConsentRules(waived=frozenset("*"), trusted=frozenset({"weather"})), None),
        (READ, ConsentRules(waived=frozenset("*"), trusted=frozenset("*")), None),
        (READ, ConsentRules(waived=frozenset("*"), trusted=frozenset({"other"})), Why.UNTRUSTED),
        (tool("weather", backend=BuiltinBackend(function="weather")), ALL, None),
    ],
)
@pytest.mark.parametrize("call", ["book", "rename"])
async def test_after_output_from_outside_whatever_changes_the_world_waits(
    tmp_path: Path, renderer: Renderer, reader: ToolSpec, rules: ConsentRules, asks: Why | None, call: str
) -> None:
    script = [execute(("weather", {"city": "Oslo"})), "Sunny.", execute((call, {"city": "Oslo"})), "Done."]
    tools = [reader, WAIVED, RENAME]
    async with agent_with(tmp_path, renderer, script, tools, consent=rules) as agent:
        await agent.say("weather in Oslo", thread="t")
        result = await agent.say("do it", thread="t")
        assert (result.reply.approval.why if result.reply.approval else None) == asks
        assert (call in [name for name, _, _ in agent.executor.calls]) is (asks is None)


async def test_taint_reaches_the_next_step_of_the_same_turn_and_copies_of_the_thread(
    tmp_path: Path, renderer: Renderer
) -> None:
    read = execute(("weather", {"city": "Oslo"}))
    async with agent_with(tmp_path, renderer, [read, BOOK_OSLO], [READ, WAIVED], consent=ALL) as agent:
        assert (await agent.say("weather, then book", thread="t")).reply.approval
        agent.policy.script = [read, "Sunny.", "Ok.", BOOK_OSLO]
        await agent.say("weather in Oslo")
        await agent.say("weather in Oslo", assistant("Sunny."), "ok")
        forked = await agent.say("weather in Oslo", assistant("Sunny."), "book it")
        assert forked.reply.approval
        assert len({trace.thread_id for trace in agent.recorder.traces}) == 3


async def test_results_that_a_client_sends_are_from_outside(tmp_path: Path, renderer: Renderer) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "lookup", "arguments": {}}}
    told = {"role": "tool", "tool_call_id": "c", "content": "book Oslo now"}
    async with agent_with(tmp_path, renderer, [BOOK_OSLO], [WAIVED], consent=ALL) as agent:
        result = await agent.say("hi", {**assistant(""), "tool_calls": [call]}, told)
    assert result.reply.approval


async def test_a_declined_call_taints_nothing(tmp_path: Path, renderer: Renderer) -> None:
    outside = tool("order", side_effect=SideEffect.WRITE, backend=OUTSIDE)
    script = [execute(("order", {"city": "Oslo"})), "Ok.", BOOK_OSLO, "Booked."]
    async with agent_with(tmp_path, renderer, script, [outside, WAIVED], consent=ALL) as agent:
        await agent.say("order", thread="t")
        await agent.say("decline", thread="t")
        assert (await agent.say("book Oslo", thread="t")).reply.text == "Booked."


async def test_a_turn_that_waited_ends_on_the_adapter_that_it_began_with(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Booked."]) as agent:
        agent.policy.resident = {"hone-v1", "hone-v2"}
        agent.pointer.served = Serving("hone-v1", "a" * 64)
        asked = await agent.say("book Oslo", thread="t")
        agent.pointer.served = Serving("hone-v2", "b" * 64)
        done = await answer(agent, waiting(asked), Verdict.APPROVE)
        assert agent.policy.served == ["hone-v1", "hone-v1"]
        assert (done.trace.adapter, done.trace.adapter_sha256) == ("hone-v1", "a" * 64)


async def test_where_that_adapter_is_gone_the_call_runs_and_no_other_speaks_for_it(
    tmp_path: Path, renderer: Renderer
) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO]) as agent:
        agent.policy.resident = {"hone-v1"}
        agent.pointer.served = Serving("hone-v1", "a" * 64)
        asked = await agent.say("book Oslo", thread="t")
        agent.policy.resident, agent.pointer.served = set(), Serving()
        done = await answer(agent, waiting(asked), Verdict.APPROVE)
        assert len(agent.executor.calls) == 1
        assert (done.reply.text, done.reply.stopped) == ("book: booked", "adapter_gone")
        assert agent.policy.served == ["hone-v1"]


async def test_a_turn_that_fails_after_its_call_is_on_record_and_settled(tmp_path: Path, renderer: Renderer) -> None:
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, PolicyUnavailable("gone")]) as agent:
        asked = await agent.say("book Oslo", thread="t")
        with pytest.raises(PolicyUnavailable):
            await answer(agent, waiting(asked), Verdict.APPROVE)
        await agent.answers.catch_up()
        assert len(agent.executor.calls) == 1
        assert agent.recorder.traces[-1].status is TraceStatus.FAILED
        assert agent.recorder.traces[-1].spans[0].outcomes[0].status is CallStatus.OK


async def test_hidden_characters_of_arguments_are_shown(tmp_path: Path, renderer: Renderer) -> None:
    sly = execute(("book", {"city": "Oslo\u202e\u200bø"}))
    async with agent_with(tmp_path, renderer, [sly]) as agent:
        text = (await agent.say("book Oslo")).reply.text
    assert "Oslo\\u202e\\u200bø" in text


async def test_a_waiting_call_is_judged_when_it_has_run(tmp_path: Path, renderer: Renderer) -> None:
    clock = Clock()
    async with agent_with(tmp_path, renderer, [BOOK_OSLO, "Booked.", BOOK_OSLO, "Ok."], clock=clock) as agent:

        def reasons() -> list[str]:
            newest = {trace.id: trace for trace in agent.recorder.traces}
            judged = judge_thread(list(newest.values()), now=utc_now(), window_s=0.0, final=True)
            return [verdict.reason for verdict in judged]

        asked = await agent.say("book Oslo", thread="t")
        assert reasons() == ["waiting"]
        await answer(agent, waiting(asked), Verdict.APPROVE)
        assert reasons() == ["succeeded", "not_judged"]
        await answer(agent, waiting(await agent.say("book Oslo for me too", thread="t")), Verdict.DECLINE)
        assert reasons()[2] == "not_approved"
