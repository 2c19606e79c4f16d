"""One turn through the graph: decide, check, execute, and what is recorded of it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.agent.consent import ConsentRules
from runtime.agent.state import Limits
from runtime.decision import DecisionKind, Execute, Invalid
from runtime.errors import BadRequest, PolicyUnavailable, PromptTooLong, StoreError, TurnTooLong, UnknownAdapter
from runtime.policy.base import SamplingParams
from runtime.prompt import Renderer
from runtime.traces.schema import TraceStatus
from tests.runtime.agent_parts import (
    Serving,
    clarify,
    client_tool,
    execute,
    refuse,
    running_agent,
    tool,
    user,
)
from tools.spec import ApprovalRule, CallStatus, SideEffect

NOON = {"weather": "sunny"}
CALL = execute(("weather", {"city": "Oslo"}))


async def test_a_call_is_run_and_its_result_shown_before_the_answer(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [CALL, "It is sunny."], tools=[tool()], results=NOON) as agent:
        result = await agent.say("weather in Oslo")
    assert result.reply.text == "It is sunny."
    assert result.reply.decision is DecisionKind.ANSWER
    assert [call[:2] for call in agent.executor.calls] == [("weather", {"city": "Oslo"})]
    assert "sunny" in agent.last_prompt
    first, second = result.trace.spans
    assert first.outcomes[0].content == "sunny"
    assert second.messages[-1]["role"] == "tool"


async def test_the_trace_holds_what_was_sampled(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Hello."], tools=[tool()]) as agent:
        agent.pointer.served = Serving("hone-v1-abc", "f" * 64)
        agent.policy.resident.add("hone-v1-abc")
        result = await agent.say("hi")
    (trace,) = agent.recorder.traces
    assert trace == result.trace
    (span,) = trace.spans
    assert renderer.decode(span.completion_token_ids) == span.text == "Hello."
    assert len(span.logprobs) == len(span.completion_token_ids)
    prompt = renderer.render([user("hi")], [tool().openai()])
    assert span.prompt_token_ids == prompt.token_ids
    assert span.tools == (tool().openai(),)
    assert (trace.adapter, trace.adapter_sha256, trace.model) == ("hone-v1-abc", "f" * 64, "scripted")
    assert trace.status is TraceStatus.FINISHED
    assert result.usage.completion_tokens == len(span.completion_token_ids)


async def test_a_clarify_ends_the_turn_with_its_question(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [clarify("Which city?")], tools=[tool()]) as agent:
        result = await agent.say("weather")
    assert result.reply.text == "Which city?"
    assert [m.parameter for m in result.reply.missing] == ["city"]


async def test_a_question_left_empty_is_made_of_what_is_missing(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [clarify("")], tools=[tool()]) as agent:
        result = await agent.say("weather")
    assert result.reply.text == "Could you tell me: city?"


async def test_a_refusal_ends_the_turn_with_its_reason(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [refuse("No tool does that.")], tools=[tool()]) as agent:
        result = await agent.say("fly me to the moon")
    assert (result.reply.decision, result.reply.text) == (DecisionKind.REFUSE, "No tool does that.")


async def test_an_unreadable_output_is_repaired_once_and_kept_as_a_negative(tmp_path: Path, renderer: Renderer) -> None:
    script = ["<tool_call>{broken</tool_call>", CALL, "Sunny."]
    async with running_agent(tmp_path, renderer, script, tools=[tool()], results=NOON) as agent:
        result = await agent.say("weather in Oslo", thread="t")
        agent.policy.script = ["Bye."]
        await agent.say("thanks", thread="t")
    assert result.reply.text == "Sunny."
    assert isinstance(result.trace.spans[0].decision, Invalid)
    assert "not JSON" in agent.policy.prompts[1]
    assert "not JSON" not in agent.last_prompt, "a mended fault is not remembered"


async def test_a_second_unreadable_output_ends_the_turn(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["</tool_call>", "</tool_call>"], tools=[tool()]) as agent:
        result = await agent.say("weather")
    assert result.reply.stopped == "invalid_output"
    assert result.reply.text
    assert len(result.trace.spans) == 2


async def test_arguments_that_break_the_schema_are_never_run(tmp_path: Path, renderer: Renderer) -> None:
    wrong = execute(("weather", {"city": 7}), ("weather", {"city": "Oslo"}))
    async with running_agent(tmp_path, renderer, [wrong, CALL, "Sunny."], tools=[tool()], results=NOON) as agent:
        result = await agent.say("weather in Oslo")
    assert len(agent.executor.calls) == 1
    refused = result.trace.spans[0]
    assert refused.violations
    assert [outcome.status for outcome in refused.outcomes] == [CallStatus.BAD_ARGUMENTS]
    assert "not of type string" in agent.policy.prompts[1]
    assert result.reply.text == "Sunny."


async def test_arguments_that_stay_wrong_end_the_turn(tmp_path: Path, renderer: Renderer) -> None:
    wrong = execute(("weather", {}))
    async with running_agent(tmp_path, renderer, [wrong, wrong], tools=[tool()], results=NOON) as agent:
        result = await agent.say("weather")
    assert result.reply.stopped == "invalid_output"
    assert agent.executor.calls == []


@pytest.mark.parametrize("value", ['"\\ud800"', "1e999", "NaN", "1" + "0" * 40])
async def test_values_that_cannot_be_kept_count_as_unreadable(tmp_path: Path, renderer: Renderer, value: str) -> None:
    odd = '<tool_call>{"name": "weather", "arguments": {"city": VALUE}}</tool_call>'.replace("VALUE", value)
    anything = tool(parameters={"type": "object", "properties": {"city": {}}})
    async with running_agent(tmp_path, renderer, [odd, "Never mind."], tools=[anything], results=NOON) as agent:
        result = await agent.say("weather")
    assert isinstance(result.trace.spans[0].decision, Invalid)
    assert agent.executor.calls == []


async def test_a_failing_tool_is_shown_to_the_policy(tmp_path: Path, renderer: Renderer) -> None:
    results = {"weather": (CallStatus.FAILED, "the endpoint is down")}
    async with running_agent(tmp_path, renderer, [CALL, "It is down."], tools=[tool()], results=results) as agent:
        result = await agent.say("weather in Oslo")
    assert "the endpoint is down" in agent.last_prompt
    assert result.trace.spans[0].outcomes[0].status is CallStatus.FAILED
    assert result.reply.text == "It is down."


async def test_reads_run_side_by_side_and_writes_in_order(tmp_path: Path, renderer: Renderer) -> None:
    both = execute(("weather", {"city": "Oslo"}), ("book", {"city": "Bergen"}))
    results = {"weather": "sunny", "book": "booked"}
    for effect, at_once in ((SideEffect.READ, 2), (SideEffect.WRITE, 1)):
        home = tmp_path / effect
        home.mkdir()
        tools = [tool(), tool("book", side_effect=effect, approval=ApprovalRule.WAIVED)]
        waived = ConsentRules(waived=frozenset({"book"}))
        script = [both, "Done."]
        async with running_agent(home, renderer, script, tools=tools, results=results, consent=waived) as agent:
            await agent.say("weather in Oslo and book Bergen")
        assert agent.executor.most_at_once == at_once
        assert len({call_id for _, _, call_id in agent.executor.calls}) == 2


async def test_a_large_result_does_not_fill_the_context(tmp_path: Path, renderer: Renderer) -> None:
    results = {"weather": "w" * 60_000}
    async with running_agent(tmp_path, renderer, [CALL, "Long."], tools=[tool()], results=results) as agent:
        result = await agent.say("weather in Oslo")
    assert "of 60000 characters shown" in result.trace.spans[0].outcomes[0].content


async def test_the_step_limit_ends_a_turn_that_goes_in_circles(tmp_path: Path, renderer: Renderer) -> None:
    limits = Limits(max_steps=3)
    async with running_agent(tmp_path, renderer, [CALL] * 9, tools=[tool()], results=NOON, limits=limits) as agent:
        result = await agent.say("weather in Oslo")
    assert result.reply.stopped == "step_limit"
    assert len(agent.executor.calls) == 3


async def test_the_token_limit_ends_a_turn(tmp_path: Path, renderer: Renderer) -> None:
    tokens = len(renderer.tokenizer.encode(CALL)) + 1
    limits = Limits(turn_tokens=tokens)
    async with running_agent(
        tmp_path, renderer, [CALL, "Sunny."], tools=[tool()], results=NOON, limits=limits
    ) as agent:
        result = await agent.say("weather in Oslo")
    assert result.reply.stopped == "token_limit"


async def test_an_output_cut_at_its_limit_is_not_repaired(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [CALL], tools=[tool()]) as agent:
        result = await agent.say("weather in Oslo", params=SamplingParams(max_tokens=4))
    assert (result.reply.stopped, result.reply.text) == ("cut", "")


async def test_sampling_parameters_reach_the_policy(tmp_path: Path, renderer: Renderer) -> None:
    params = SamplingParams(max_tokens=9, temperature=0.7, top_p=0.9, seed=3)
    async with running_agent(tmp_path, renderer, ["Hi."]) as agent:
        await agent.say("hi", params=params)
    assert agent.policy.params == [replace(params, grammar=renderer.grammar([]))]


async def test_without_the_constraint_the_policy_may_write_anything(tmp_path: Path, renderer: Renderer) -> None:
    free = Renderer(renderer.tokenizer, constrained=False)
    async with running_agent(tmp_path, free, ["Hi."]) as agent:
        await agent.say("hi")
    assert agent.policy.params[0].grammar is None


async def test_old_exchanges_leave_a_prompt_that_would_not_fit(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["ok."] * 40) as agent:
        agent.policy.context_length = 700
        results = [await agent.say(f"message {n}: " + "long words and more " * 5, thread="t") for n in range(6)]
    assert [results[0].dropped, results[-1].dropped > 0] == [0, True]
    assert "message 5" in agent.last_prompt
    assert "message 0" not in agent.last_prompt


async def test_an_answer_to_a_question_keeps_the_request_that_it_belongs_to(tmp_path: Path, renderer: Renderer) -> None:
    filler = "long words and more " * 12
    script = ["ok.", "ok.", clarify("Which city?"), "Sunny."]
    async with running_agent(tmp_path, renderer, script, tools=[tool()]) as agent:
        agent.policy.context_length = 1000
        for said in (f"one: {filler}", f"two: {filler}", f"weather please: {filler}", f"Oslo {filler}"):
            last = await agent.say(said, thread="t")
    assert last.dropped > 0
    assert all(text in agent.last_prompt for text in ("weather please", "Which city?", "Oslo"))
    assert "two: " not in agent.last_prompt


async def test_a_turn_without_a_decision_in_time_is_an_error(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, limits=Limits(seconds=0.2)) as agent:
        agent.policy.gate = asyncio.Event()
        with pytest.raises(TurnTooLong, match=r"within 0\.2 s"):
            await agent.say("weather in Oslo")
    assert agent.recorder.traces[0].status is TraceStatus.FAILED


async def test_a_turn_whose_time_is_over_ends_with_what_it_has(tmp_path: Path, renderer: Renderer) -> None:
    limits = Limits(seconds=1.0)
    async with running_agent(tmp_path, renderer, tools=[tool()], results=NOON, limits=limits) as agent:

        def call_and_then_hang(prompt: str) -> str:
            agent.policy.gate = asyncio.Event()
            return CALL

        agent.policy.script = [call_and_then_hang]
        result = await agent.say("weather in Oslo")
    assert (result.reply.stopped, result.reply.text) == (
        "time_limit",
        "I stopped: this took longer than one turn may take.",
    )
    assert result.trace.spans[0].outcomes[0].content == "sunny"


async def test_a_message_that_cannot_fit_is_an_error(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["ok."]) as agent:
        with pytest.raises(PromptTooLong, match="4096"):
            await agent.say("word " * 5000)


async def test_a_turn_that_fails_is_recorded_with_what_it_did(tmp_path: Path, renderer: Renderer) -> None:
    script = [CALL, PolicyUnavailable("the policy server is gone")]
    async with running_agent(tmp_path, renderer, script, tools=[tool()], results=NOON) as agent:
        with pytest.raises(PolicyUnavailable):
            await agent.say("weather in Oslo")
    (trace,) = agent.recorder.traces
    assert trace.status is TraceStatus.FAILED
    assert trace.error == "PolicyUnavailable: the policy server is gone"
    (span,) = trace.spans
    assert isinstance(span.decision, Execute)
    assert span.outcomes[0].content == "sunny"


async def test_a_failed_turn_leaves_no_trace_in_its_thread(tmp_path: Path, renderer: Renderer) -> None:
    script = ["One.", CALL, PolicyUnavailable("gone"), "Two."]
    async with running_agent(tmp_path, renderer, script, tools=[tool()], results=NOON) as agent:
        await agent.say("first", thread="t")
        with pytest.raises(PolicyUnavailable):
            await agent.say("second", thread="t")
        await agent.say("third", thread="t")
    messages = agent.recorder.traces[-1].spans[0].messages
    assert [m["content"] for m in messages] == ["first", "One.", "third"]


async def test_a_reply_does_not_depend_on_its_record(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Hi."]) as agent:
        agent.recorder.failure = StoreError("the disk is full")
        result = await agent.say("hi")
    assert result.reply.text == "Hi."


async def test_client_tools_are_handed_back_and_not_run(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [CALL], tools=[tool("ours")]) as agent:
        result = await agent.say("weather in Oslo", client_tools=(client_tool(),))
    assert [part.call.arguments for part in result.reply.calls] == [{"city": "Oslo"}]
    assert agent.executor.calls == []
    assert "ours" not in agent.last_prompt


async def test_an_adapter_change_in_mid_turn_waits_for_the_next_turn(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [CALL, "Sunny.", "Bye."], tools=[tool()]) as agent:

        def swap_and_answer(arguments: dict[str, object]) -> str:
            assert agent.pointer.leased == [Serving()], "the adapter is kept while the turn goes on"
            agent.policy.resident.add("hone-v2-def")
            agent.pointer.served = Serving("hone-v2-def", "e" * 64)
            return json.dumps("sunny")

        agent.executor.results["weather"] = swap_and_answer
        await agent.say("weather in Oslo")
        await agent.say("bye")
    assert agent.policy.served == [None, None, "hone-v2-def"]
    assert agent.pointer.leased == []
    assert [trace.adapter for trace in agent.recorder.traces] == [None, "hone-v2-def"]


async def test_models_can_be_pinned(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["A.", "B."]) as agent:
        agent.policy.resident.add("hone-v1-abc")
        agent.pointer.served = Serving("hone-v1-abc", "f" * 64)
        await agent.say("a", model="hone@base")
        pinned = await agent.say("b", model="hone@hone-v1-abc")
        with pytest.raises(UnknownAdapter, match="hone, hone@incumbent, hone@base, hone@hone-v1-abc"):
            await agent.say("c", model="gpt-9")
    assert agent.policy.served == [None, "hone-v1-abc"]
    assert pinned.trace.adapter_sha256 == "sha-of-hone-v1-abc"


async def test_a_conversation_that_ends_with_our_own_words_is_refused(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer) as agent:
        with pytest.raises(BadRequest):
            await agent.say("hi", {"role": "assistant", "content": "Hello."})


async def test_a_turn_whose_caller_is_gone_goes_on(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Hi."]) as agent:
        agent.policy.gate = asyncio.Event()
        caller = asyncio.create_task(agent.say("hi"))
        while not agent.policy.prompts:
            await asyncio.sleep(0)
        caller.cancel()
        agent.policy.gate.set()
        await agent.turns.close()
    assert [trace.status for trace in agent.recorder.traces] == [TraceStatus.FINISHED]


async def test_a_turn_that_outlives_the_server_is_recorded_as_failed(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Hi."]) as agent:
        agent.policy.gate = asyncio.Event()
        caller = asyncio.create_task(agent.say("hi"))
        while not agent.policy.prompts:
            await asyncio.sleep(0)
        await agent.turns.close(grace_s=0)
        with pytest.raises(PolicyUnavailable, match="stopping"):
            await caller
    assert [trace.status for trace in agent.recorder.traces] == [TraceStatus.FAILED]


async def test_news_comes_as_the_turn_goes(tmp_path: Path, renderer: Renderer) -> None:
    from runtime.agent.turn_request import TurnRequest

    async with running_agent(tmp_path, renderer, [CALL, "Sunny."], tools=[tool()], results=NOON) as agent:
        turn = await agent.turns.stream(TurnRequest(messages=(user("weather"),), params=SamplingParams()))
        news = [(span.index, len(span.outcomes)) async for span in turn]
        assert (await turn.result()).reply.text == "Sunny."
    assert news == [(0, 0), (0, 1), (1, 0)]


async def test_of_a_large_catalogue_the_policy_sees_the_tools_that_the_conversation_is_about(
    tmp_path: Path, renderer: Renderer
) -> None:
    tools = [tool(f"tool_{i}") for i in range(9)] + [tool("sky_watch"), tool("buy_milk")]
    limits = Limits(shown_tools=3)
    script = ["For which city?", "Ok."]
    async with running_agent(tmp_path, renderer, script, tools=tools, limits=limits) as agent:
        first = await agent.say("watch the sky", thread="t")
        second = await agent.say("Oslo", thread="t")
    for result in (first, second):
        shown = [t["function"]["name"] for t in result.trace.spans[0].tools]
        assert len(shown) == 3
        assert "sky_watch" in shown
        assert "buy_milk" not in shown


async def test_a_correction_still_sees_the_tool_that_was_called(tmp_path: Path, renderer: Renderer) -> None:
    tools = [tool(f"tool_{i}") for i in range(9)] + [tool("sky_watch")]
    script = [execute(("sky_watch", {"city": "Oslo"})), "Clear.", "Ok.", "Ok.", "Ok.", "Ok."]
    limits = Limits(shown_tools=2)
    async with running_agent(
        tmp_path, renderer, script, tools=tools, limits=limits, results={"sky_watch": "clear"}
    ) as agent:
        await agent.say("sky_watch Oslo", thread="t")
        for text in ("no, Bergen", "Rome", "Paris then", "or Lima"):
            result = await agent.say(text, thread="t")
    assert "sky_watch" in [t["function"]["name"] for t in result.trace.spans[0].tools]


async def test_tools_used_earlier_in_the_thread_stay(tmp_path: Path, renderer: Renderer) -> None:
    tools = [tool(f"tool_{i}") for i in range(9)] + [tool("sky_watch"), tool("buy_milk")]
    script = [
        execute(("sky_watch", {"city": "Oslo"})),
        "Clear.",
        execute(("buy_milk", {"city": "Rome"})),
        "Bought.",
        "Ok.",
    ]
    results = {"sky_watch": "clear", "buy_milk": "bought"}
    async with running_agent(
        tmp_path, renderer, script, tools=tools, limits=Limits(shown_tools=4), results=results
    ) as agent:
        for text in ("sky_watch Oslo", "buy_milk in Rome", "now use tool_7"):
            result = await agent.say(text, thread="t")
    shown = {t["function"]["name"] for t in result.trace.spans[0].tools}
    assert {"sky_watch", "buy_milk", "tool_7"} <= shown


async def test_tools_that_the_client_names_are_all_shown(tmp_path: Path, renderer: Renderer) -> None:
    tools = [tool(f"tool_{i}") for i in range(5)]
    async with running_agent(tmp_path, renderer, ["Ok."], tools=tools, limits=Limits(shown_tools=2)) as agent:
        result = await agent.say("hi", only_tools=("tool_4", "tool_3", "tool_1"))
    assert [t["function"]["name"] for t in result.trace.spans[0].tools] == ["tool_4", "tool_3", "tool_1"]
