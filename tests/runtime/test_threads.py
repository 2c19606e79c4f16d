"""Which conversation a turn belongs to: named, recognised, forked or new."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from runtime.agent.messages import EMPTY_DIGEST, extend_digest
from runtime.agent.threads import HeadStore
from runtime.prompt import Renderer
from tests.runtime.agent_parts import assistant, clarify, client_tool, execute, refuse, running_agent, tool, user

CALL = execute(("weather", {"city": "Oslo"}))
NOON = {"weather": "sunny"}


def contents(agent) -> list[str]:
    """What the policy saw last, message by message."""
    return [message["content"] for message in agent.recorder.traces[-1].spans[-1].messages]


def threads(agent) -> list[str]:
    return [trace.thread_id for trace in agent.recorder.traces]


async def test_a_named_thread_takes_only_what_is_new(tmp_path: Path, renderer: Renderer) -> None:
    script = [clarify("Which city?"), CALL, "Sunny.", "Bye."]
    async with running_agent(tmp_path, renderer, script, tools=[tool()], results=NOON) as agent:
        await agent.say("weather", thread="t")
        await agent.say("Oslo", thread="t")
        assert contents(agent) == ["weather", "Which city?", "Oslo", "", "sunny"]
        await agent.say("bye", thread="t")
        assert contents(agent) == ["weather", "Which city?", "Oslo", "", "sunny", "Sunny.", "bye"]
    assert threads(agent) == ["t", "t", "t"]


async def test_a_clarify_answered_by_a_client_without_threads_continues_it(tmp_path: Path, renderer: Renderer) -> None:
    script = [clarify("Which city?"), CALL, "Sunny.", "Bye."]
    async with running_agent(tmp_path, renderer, script, tools=[tool()], results=NOON) as agent:
        conversation = [user("weather")]
        for answer in ("Oslo", "bye"):
            result = await agent.say(*conversation)
            conversation += [assistant(result.reply.text), user(answer)]
        await agent.say(*conversation)
        assert contents(agent) == ["weather", "Which city?", "Oslo", "", "sunny", "Sunny.", "bye"]
    assert len(set(threads(agent))) == 1


async def test_threads_are_remembered_after_a_restart(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [CALL, "Sunny."], tools=[tool()], results=NOON) as agent:
        await agent.say("weather in Oslo")
        before = threads(agent)
    async with running_agent(tmp_path, renderer, ["Bye."], tools=[tool()]) as agent:
        await agent.say("weather in Oslo", assistant("Sunny."), "bye")
        assert threads(agent) == before
        assert contents(agent) == ["weather in Oslo", "", "sunny", "Sunny.", "bye"]


@pytest.mark.parametrize("echoed", ["No.", ""])
async def test_a_refusal_is_recognised_with_and_without_its_text(
    tmp_path: Path, renderer: Renderer, echoed: str
) -> None:
    async with running_agent(tmp_path, renderer, [refuse("No."), "Fine."]) as agent:
        await agent.say("fly me to the moon")
        await agent.say("fly me to the moon", assistant(echoed), "then hello")
        assert contents(agent) == ["fly me to the moon", "No.", "then hello"]
    assert len(set(threads(agent))) == 1


async def test_white_space_and_ids_do_not_hide_a_conversation(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [CALL, "Sunny."]) as agent:
        first = await agent.say("weather in Oslo ", client_tools=(client_tool(),))
        call = {"id": "other", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
        echo = {"role": "assistant", "content": "", "tool_calls": [call]}
        answer = {"role": "tool", "tool_call_id": "other", "content": "sunny"}
        await agent.say("weather in Oslo", echo, answer, client_tools=(client_tool(),))
    assert first.reply.calls
    assert len(set(threads(agent))) == 1


async def test_the_same_first_words_are_two_conversations(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Hi.", "Hi.", "One.", "Two."]) as agent:
        await agent.say("hello")
        await agent.say("hello")
        await agent.say("hello", assistant("Hi."), "one")
        await agent.say("hello", assistant("Hi."), "two")
        assert contents(agent) == ["hello", "Hi.", "two"]
    first, second, third, fourth = threads(agent)
    assert first != second
    assert {third, fourth} == {first, second}


async def test_an_answer_asked_for_again_forks_the_thread(tmp_path: Path, renderer: Renderer) -> None:
    script = [CALL, "Sunny.", "Bye.", "Farewell."]
    async with running_agent(tmp_path, renderer, script, tools=[tool()], results=NOON) as agent:
        await agent.say("weather in Oslo")
        await agent.say("weather in Oslo", assistant("Sunny."), "bye")
        await agent.say("weather in Oslo", assistant("Sunny."), "bye")
        assert contents(agent) == ["weather in Oslo", "", "sunny", "Sunny.", "bye"]
    first, second, third = threads(agent)
    assert first == second != third


async def test_an_unknown_conversation_begins_a_thread_as_it_was_told(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Yes."]) as agent:
        await agent.say("hello", assistant("I never said that."), "did you?")
        assert contents(agent) == ["hello", "I never said that.", "did you?"]


async def test_a_named_thread_accepts_the_whole_conversation(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, [CALL, "Sunny.", "Bye."], tools=[tool()], results=NOON) as agent:
        await agent.say("weather in Oslo", thread="t")
        await agent.say("weather in Oslo", assistant("Sunny."), "bye", thread="t")
        assert contents(agent) == ["weather in Oslo", "", "sunny", "Sunny.", "bye"]


async def test_a_named_thread_goes_back_to_where_the_conversation_was_edited(
    tmp_path: Path, renderer: Renderer
) -> None:
    async with running_agent(tmp_path, renderer, ["A.", "B.", "C.", "D."]) as agent:
        await agent.say("one", thread="t")
        await agent.say("two", thread="t")
        await agent.say("one", assistant("A."), "another two", thread="t")
        assert contents(agent) == ["one", "A.", "another two"]
        await agent.say("three", thread="t")
        assert contents(agent) == ["one", "A.", "another two", "C.", "three"]


async def test_a_named_thread_is_replaced_by_a_conversation_it_never_had(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["A.", "B.", "C."]) as agent:
        await agent.say("one", thread="t")
        await agent.say("zero", assistant("Z."), "two", thread="t")
        await agent.say("three", thread="t")
        assert contents(agent) == ["zero", "Z.", "two", "B.", "three"]


async def test_the_system_text_is_kept_and_may_change(tmp_path: Path, renderer: Renderer) -> None:
    system = {"role": "system", "content": "Be brief."}
    async with running_agent(tmp_path, renderer, ["A.", "B.", "C."]) as agent:
        await agent.say(system, "one", thread="t")
        await agent.say("two", thread="t")
        assert contents(agent) == ["Be brief.", "one", "A.", "two"]
        await agent.say({"role": "developer", "content": "Be long."}, "three", thread="t")
        assert contents(agent) == ["Be long.", "one", "A.", "two", "B.", "three"]


async def test_turns_of_one_thread_wait_for_each_other(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["A.", "B."]) as agent:
        agent.policy.gate = asyncio.Event()
        both = [asyncio.create_task(agent.say(text, thread="t")) for text in ("one", "two")]
        while not agent.policy.prompts:
            await asyncio.sleep(0)
        agent.policy.gate.set()
        await asyncio.gather(*both)
        assert contents(agent) == ["one", "A.", "two"]


async def test_a_busy_thread_is_not_taken_by_a_client_without_threads(tmp_path: Path, renderer: Renderer) -> None:
    async with running_agent(tmp_path, renderer, ["Hi.", "A.", "B."]) as agent:
        await agent.say("hello")
        agent.policy.gate = asyncio.Event()
        both = [asyncio.create_task(agent.say("hello", assistant("Hi."), "go on")) for _ in range(2)]
        while len(agent.policy.prompts) < 3:
            await asyncio.sleep(0)
        agent.policy.gate.set()
        await asyncio.gather(*both)
    assert len(set(threads(agent))) == 2


def test_heads_of_a_branch_left_behind_are_forgotten(engine: Engine) -> None:
    heads = HeadStore(engine)
    heads.advance("t", 0, 2, ["a"])
    heads.advance("t", 2, 4, ["b"])
    assert [(h.digest, h.is_last) for h in heads.of_thread("t")] == [("b", True), ("a", False)]
    heads.advance("t", 2, 5, ["c"])
    assert heads.find("b") == []
    assert [(h.digest, h.is_last) for h in heads.of_thread("t")] == [("c", True), ("a", False)]


def test_the_digest_grows_message_by_message() -> None:
    said = [user("a"), assistant("b"), user("c")]
    assert extend_digest(extend_digest(EMPTY_DIGEST, said[:2]), said[2:]) == extend_digest(EMPTY_DIGEST, said)
    assert extend_digest(EMPTY_DIGEST, said) != extend_digest(EMPTY_DIGEST, said[:2])
    assert extend_digest(EMPTY_DIGEST, [user("ab")]) != extend_digest(EMPTY_DIGEST, [user("a"), user("b")])
