"""POST /v1/responses and its neighbours, through the official client and as plain HTTP."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from runtime.errors import PolicyUnavailable
from runtime.prompt import Renderer
from tests.runtime.agent_parts import CITY, clarify, execute, refuse, tool
from tests.runtime.served_app import ServedApp, served_app
from tools.spec import SideEffect

CALL = execute(("weather", {"city": "Oslo"}))
FORECAST = execute(("forecast", {"city": "Oslo"}))
LONG = "It is sunny in Oslo today, and it will stay so until the evening."
OFFERED: Any = {
    "type": "function",
    "name": "forecast",
    "description": "Forecast.",
    "parameters": {**CITY, "additionalProperties": False},
    "strict": True,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Iterator[ServedApp]:
    home = tmp_path_factory.mktemp("home")
    tools = [tool(), tool("note", side_effect=SideEffect.WRITE)]
    with served_app(
        home, renderer, tools=tools, results={"weather": "sunny", "note": "noted"}, approvals_waived=()
    ) as served:
        yield served


def ask(server: ServedApp, given: Any, **others: Any):
    return server.client.responses.create(model="hone", input=given, **others)


def hone(response: Any) -> dict[str, Any]:
    return response.model_extra["hone"]


def post(server: ServedApp, body: Any):
    return server.http.post("/v1/responses", content=json.dumps(body), headers={"content-type": "application/json"})


def events(server: ServedApp, given: Any, **others: Any) -> list[dict[str, Any]]:
    response = post(server, {"input": given, "stream": True, **others})
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_an_answer_after_a_tool_call(server: ServedApp) -> None:
    server.policy.script = [CALL, "It is sunny."]
    response = ask(server, "weather in Oslo", metadata={"topic": "x"}, temperature=0.5, max_output_tokens=50)
    assert (response.object, response.status, response.output_text) == ("response", "completed", "It is sunny.")
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert (response.metadata, response.temperature, response.max_output_tokens) == ({"topic": "x"}, 0.5, 50)
    assert (server.policy.params[-1].temperature, server.policy.params[-1].max_tokens) == (0.5, 50)
    assert hone(response)["steps"][0]["calls"][0]["result"] == "sunny"
    assert response.id == hone(response)["trace"].replace("trace_", "resp_")


def test_a_response_goes_on_where_the_one_before_it_ended(server: ServedApp) -> None:
    server.policy.script = [clarify("Which city?"), CALL, "Sunny."]
    first = ask(server, "weather")
    assert (first.output_text, hone(first)["missing"]) == (
        "Which city?",
        [{"tool": "weather", "parameter": "city"}],
    )
    second = ask(server, "Oslo", previous_response_id=first.id)
    assert second.output_text == "Sunny."
    assert "Which city?" in server.policy.prompts[-1]
    assert hone(second)["thread"] == hone(first)["thread"]
    assert second.previous_response_id == first.id


def test_a_response_that_was_gone_on_from_can_be_gone_on_from_again(server: ServedApp) -> None:
    server.policy.script = ["One.", "Two.", "Another two.", "Three."]
    first = ask(server, "say one")
    second = ask(server, "say two", previous_response_id=first.id)
    other = ask(server, "say something else", previous_response_id=first.id)
    assert "One." in server.policy.prompts[-1]
    assert "say two" not in server.policy.prompts[-1]
    assert hone(other)["thread"] != hone(first)["thread"]
    third = ask(server, "say three", previous_response_id=second.id)
    assert hone(third)["thread"] == hone(first)["thread"]
    assert "say two" in server.policy.prompts[-1]
    assert "something else" not in server.policy.prompts[-1]


def test_instructions_are_for_one_response_and_developer_items_for_the_thread(server: ServedApp) -> None:
    server.policy.script = ["One.", "Two."]
    told = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "say one"}]
    first = ask(server, told, instructions="Speak like a pirate.")
    assert "pirate" in server.policy.prompts[-1]
    ask(server, "say two", previous_response_id=first.id)
    assert "pirate" not in server.policy.prompts[-1]
    assert "Be brief." in server.policy.prompts[-1]


def test_a_client_that_sends_all_items_again_keeps_its_thread(server: ServedApp) -> None:
    server.policy.script = [FORECAST, "Rain."]
    items: list[Any] = [{"role": "user", "content": "forecast for Oslo, please"}]
    first = ask(server, items, tools=[OFFERED])
    (call,) = first.output
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Oslo"}
    items += first.output
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain at noon"})
    second = ask(server, items, tools=[OFFERED])
    assert second.output_text == "Rain."
    assert "rain at noon" in server.policy.prompts[-1]
    assert hone(second)["thread"] == hone(first)["thread"]


def test_several_calls_are_several_items_and_their_results_are_enough(server: ServedApp) -> None:
    server.policy.script = [execute(("forecast", {"city": "Oslo"}), ("forecast", {"city": "Bergen"})), "Rain in both."]
    first = ask(server, "forecast for both", tools=[OFFERED])
    assert len({item.call_id for item in first.output if item.type == "function_call"}) == 2
    results: Any = [
        {
            "type": "function_call_output",
            "call_id": item.call_id,
            "output": [{"type": "input_text", "text": f"rain {n}"}],
        }
        for n, item in enumerate(first.output)
        if item.type == "function_call"
    ]
    second = ask(server, results, previous_response_id=first.id, tools=[OFFERED])
    assert second.output_text == "Rain in both."
    assert "rain 1" in server.policy.prompts[-1]


def test_a_refusal_is_a_refusal_part(server: ServedApp) -> None:
    server.policy.script = [refuse("No tool can do that.")]
    response = ask(server, "fly me to the moon")
    (message,) = response.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "refusal"
    assert (part.refusal, response.output_text) == ("No tool can do that.", "")
    assert hone(response)["category"] == "out_of_scope"


def test_an_answer_cut_short_is_incomplete(server: ServedApp) -> None:
    server.policy.script = [LONG]
    response = ask(server, "weather", max_output_tokens=3)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    server.policy.script = [LONG]
    assert events(server, "weather", max_output_tokens=3)[-1]["type"] == "response.incomplete"


def test_an_approval_is_asked_for_and_given_by_the_next_response(server: ServedApp) -> None:
    server.policy.script = [execute(("note", {"city": "Oslo"})), "Noted."]
    asked = ask(server, "note Oslo")
    assert hone(asked)["approval"]["tool"] == "note"
    assert server.client.responses.retrieve(asked.id).output_text == asked.output_text
    done = ask(server, "approve", previous_response_id=asked.id)
    assert done.output_text == "Noted."
    assert server.client.responses.retrieve(asked.id).output_text == "Noted."


def test_a_response_can_be_asked_for_again(server: ServedApp) -> None:
    server.policy.script = [FORECAST, "Bye."]
    given = ask(server, "forecast", tools=[OFFERED], metadata={"topic": "x"}, instructions="Be brief.")
    ask(server, "bye", previous_response_id=given.id)
    again = server.client.responses.retrieve(given.id).model_dump()
    assert again == {**given.model_dump(), "created_at": again["created_at"]}


@pytest.mark.parametrize("missing", ["resp_none", "none", "unstored", "chat"])
def test_a_response_that_is_not_kept_is_404(server: ServedApp, missing: str) -> None:
    server.policy.script = ["Hi.", "Hi."]
    name = missing
    if missing == "unstored":
        name = ask(server, "hello there", store=False).id
    if missing == "chat":
        name = server.chat("hi").headers["x-hone-trace"].replace("trace_", "resp_")
    with pytest.raises(openai.NotFoundError) as caught:
        ask(server, "go on", previous_response_id=name)
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "response_not_found")
    with pytest.raises(openai.NotFoundError):
        server.client.responses.retrieve(name)


def test_a_response_is_not_deleted_alone(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    given = ask(server, "hello")
    with pytest.raises(openai.BadRequestError, match="store=false"):
        server.client.responses.delete(given.id)
    assert server.client.responses.retrieve(given.id).id == given.id


def test_a_response_of_another_thread_is_not_gone_on_from(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    given = ask(server, "hello", metadata={"thread": "mine"})
    assert hone(given)["thread"] == "mine"
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, "go on", previous_response_id=given.id, metadata={"thread": "other"})
    assert caught.value.param == "previous_response_id"


def test_the_events_of_an_answer(server: ServedApp) -> None:
    server.policy.script = [CALL, LONG]
    found = events(server, "weather in Oslo")
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    kinds = [event["type"].removeprefix("response.") for event in found]
    deltas = [event["delta"] for event in found if event["type"] == "response.output_text.delta"]
    assert len(deltas) > 2
    assert "".join(deltas) == LONG
    assert list(dict.fromkeys(kinds)) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["hone"]["step"]["decision"] for event in found if "hone" in event] == ["execute", "execute", "answer"]
    assert found[-1]["response"]["output"] == [found[-2]["item"]]
    assert {event["response"]["id"] for event in found if "response" in event} == {found[0]["response"]["id"]}


def test_the_official_helper_puts_the_streams_together(server: ServedApp) -> None:
    for script, tools in (([CALL, LONG], []), ([refuse("No.")], []), ([FORECAST], [OFFERED])):
        server.policy.script = script
        with server.client.responses.stream(model="hone", input="weather in Oslo", tools=tools) as stream:
            seen = list(stream)
            final = stream.get_final_response()
        assert final.output == seen[-1].response.output  # pyright: ignore[reportAttributeAccessIssue]
        kept = server.client.responses.retrieve(final.id)
        assert [item.model_dump(exclude={"content", "parsed_arguments"}) for item in final.output] == [
            item.model_dump(exclude={"content"}) for item in kept.output
        ]
        assert final.output_text == kept.output_text


def test_a_refusal_and_calls_are_streamed_in_events_of_their_own(server: ServedApp) -> None:
    server.policy.script = [refuse("No tool can do that.")]
    found = events(server, "fly")
    assert "".join(e["delta"] for e in found if e["type"] == "response.refusal.delta") == "No tool can do that."
    server.policy.script = [FORECAST]
    found = events(server, "forecast", tools=[OFFERED])
    (done,) = [event for event in found if event["type"] == "response.function_call_arguments.done"]
    assert json.loads(done["arguments"]) == {"city": "Oslo"}


def test_a_turn_that_fails_at_once_has_a_status_and_one_that_fails_later_an_event(server: ServedApp) -> None:
    server.policy.script = [PolicyUnavailable("gone")]
    assert post(server, {"input": "hi", "stream": True}).status_code == 503
    server.policy.script = [CALL, PolicyUnavailable("gone in between")]
    last = events(server, "weather in Oslo")[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["message"] == "gone in between"
    assert server.http.get(f"/v1/responses/{last['response']['id']}").status_code == 404


def test_input_that_is_too_long_is_said_of_input(server: ServedApp) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, "word " * 5000)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": [3]}, "input.0"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0.type"),
        ({"input": [{"role": "wizard", "content": "hi"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "x", "arguments": "{"}]},
            "input.0.arguments",
        ),
        ({"input": [{"type": "reasoning", "id": "r", "summary": []}]}, "input"),
        ({"input": [{"role": "assistant", "content": "hi"}]}, "input"),
        ({"instructions": ["x"]}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": float("nan")}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{**OFFERED, "name": "ask_user"}]}, "tools.0.name"),
        ({"tools": [{**OFFERED, "parameters": {"type": "objekt"}}]}, "tools.0.parameters"),
        ({"tool_choice": {"type": "function", "name": "forecast"}}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.type"),
        ({"background": True}, "background"),
        ({"conversation": "c"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"truncation": "disabled"}, "truncation"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"thread": "no spaces allowed"}}, "metadata.thread"),
    ],
)
def test_a_wrong_field_is_named(server: ServedApp, changes: dict[str, Any], param: str) -> None:
    response = post(server, {"model": "hone", "input": "hi", **changes})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert error["message"]


def test_harmless_fields_are_passed_over(server: ServedApp) -> None:
    server.policy.script = ["Hi."]
    harmless = {
        "user": "u",
        "safety_identifier": "s",
        "service_tier": "auto",
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "truncation": "auto",
        "parallel_tool_calls": True,
    }
    assert post(server, {"input": "hi", **harmless}).status_code == 200
