"""Tools that the client sends are the client's to run: hone stands in for any OpenAI-compatible model."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from runtime.prompt import Renderer
from tests.runtime.agent_parts import CITY, execute, tool
from tests.runtime.served_app import ServedApp, served_app

CALL = execute(("forecast", {"city": "Oslo"}))
OFFERED: Any = {"type": "function", "function": {"name": "forecast", "description": "Forecast.", "parameters": CITY}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Iterator[ServedApp]:
    home = tmp_path_factory.mktemp("home")
    with served_app(home, renderer, tools=[tool("ours")], results={"ours": "x"}) as served:
        yield served


def ask(server: ServedApp, *messages, **others):
    return server.client.chat.completions.create(
        model="hone", messages=list(messages), tools=others.pop("tools", [OFFERED]), **others
    )


def test_an_execute_comes_back_as_tool_calls_and_the_result_is_taken_up(server: ServedApp) -> None:
    server.policy.script = [CALL, "Rain."]
    question = {"role": "user", "content": "forecast for Oslo"}
    first = ask(server, question)
    choice = first.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("forecast", {"city": "Oslo"})

    result = {"role": "tool", "tool_call_id": call.id, "content": "rain at noon"}
    second = ask(server, question, choice.message.model_dump(), result)
    assert second.choices[0].message.content == "Rain."
    assert "rain at noon" in server.policy.prompts[-1]
    threads = {(reply.model_extra or {})["hone"]["thread"] for reply in (first, second)}
    assert len(threads) == 1


def test_the_result_alone_is_enough_in_a_named_thread(server: ServedApp) -> None:
    server.policy.script = [CALL, "Rain."]
    named = {"metadata": {"thread": "with-results"}}
    first = ask(server, {"role": "user", "content": "forecast for Oslo"}, **named)
    (call,) = first.choices[0].message.tool_calls or []
    ask(server, {"role": "tool", "tool_call_id": call.id, "content": "rain at noon"}, **named)
    assert "forecast for Oslo" in server.policy.prompts[-1]
    assert "rain at noon" in server.policy.prompts[-1]


def test_several_calls_come_back_together(server: ServedApp) -> None:
    server.policy.script = [execute(("forecast", {"city": "Oslo"}), ("forecast", {"city": "Bergen"}))]
    calls = ask(server, {"role": "user", "content": "both"}).choices[0].message.tool_calls or []
    assert len({call.id for call in calls}) == 2


def test_tool_calls_are_streamed(server: ServedApp) -> None:
    server.policy.script = [CALL]
    with server.client.chat.completions.stream(
        model="hone", messages=[{"role": "user", "content": "forecast for Oslo"}], tools=[OFFERED]
    ) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Oslo"}


def test_registered_tools_are_not_shown_beside_the_clients(server: ServedApp) -> None:
    server.policy.script = ["Hello."]
    ask(server, {"role": "user", "content": "hi"})
    assert '"name": "forecast"' in server.policy.prompts[-1]
    assert '"name": "ours"' not in server.policy.prompts[-1]


def test_tool_choice_none_hides_the_clients_tools(server: ServedApp) -> None:
    server.policy.script = ["Hello."]
    ask(server, {"role": "user", "content": "hi"}, tool_choice="none")
    assert '"name": "forecast"' not in server.policy.prompts[-1]


def test_a_call_that_breaks_the_clients_schema_is_mended_before_it_leaves(server: ServedApp) -> None:
    server.policy.script = [execute(("forecast", {"town": "Oslo"})), CALL]
    reply = ask(server, {"role": "user", "content": "forecast for Oslo"})
    (call,) = reply.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    assert (reply.model_extra or {})["hone"]["steps"][0]["violations"]


def function(**changes):
    return {"type": "function", "function": {**OFFERED["function"], **changes}}


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([function(name="ask_user")], "tools.0.function.name"),
        ([function(name="two words")], "tools.0.function"),
        ([OFFERED, OFFERED], "tools.1.function.name"),
        ([function(parameters={"type": "objekt"})], "tools.0.function.parameters.type"),
        ([function(parameters={"type": "object", "properties": 5})], "tools.0.function.parameters.properties"),
        ([{"type": "function"}], "tools.0.function"),
    ],
)
def test_tools_that_cannot_be_shown_are_named(server: ServedApp, tools: list, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said.replace(".", r"\.")):
        ask(server, {"role": "user", "content": "hi"}, tools=tools)


def test_a_tool_may_take_nothing(server: ServedApp) -> None:
    server.policy.script = [execute(("refresh", {}))]
    bare = {"type": "function", "function": {"name": "refresh"}}
    calls = ask(server, {"role": "user", "content": "refresh"}, tools=[bare]).choices[0].message.tool_calls or []
    assert calls[0].type == "function"
    assert calls[0].function.arguments == "{}"


def test_bounds_beyond_64_bits_do_no_harm(server: ServedApp) -> None:
    server.policy.script = ["Hello."]
    parameters = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 10**30}}}
    reply = ask(server, {"role": "user", "content": "hi"}, tools=[function(parameters=parameters)])
    assert reply.choices[0].message.content == "Hello."


@pytest.mark.parametrize("arguments", ["{", "[]", '{"n": 1' + "0" * 40 + "}", '{"n": NaN}'])
def test_calls_that_cannot_be_read_are_named(server: ServedApp, arguments: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "forecast", "arguments": arguments}}
    with pytest.raises(openai.BadRequestError, match=r"messages\.1\.tool_calls\.0\.function\.arguments"):
        ask(
            server,
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "x"},
        )
