"""Streamed chat: the events on the wire, and the official client's view of them."""

import json
from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI

from runtime.errors import PolicyUnavailable
from runtime.prompt import Renderer
from tests.runtime.agent_parts import clarify, execute, refuse, tool
from tests.runtime.served_app import ServedApp, served_app

CALL = execute(("weather", {"city": "Oslo"}))
LONG = "It is sunny in Oslo today, and it will stay so until the evening."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Iterator[ServedApp]:
    home = tmp_path_factory.mktemp("home")
    with served_app(home, renderer, tools=[tool()], results={"weather": "sunny"}) as served:
        yield served


def events(server: ServedApp, text: str, **others) -> list[dict]:
    """The data of all events; the last must be [DONE]."""
    response = server.chat(text, stream=True, **others)
    assert response.headers["content-type"].startswith("text/event-stream")
    *data, done = [part.removeprefix("data: ") for part in response.text.strip().split("\n\n")]
    assert done == "[DONE]"
    return [json.loads(part) for part in data]


def test_events_come_in_order_under_one_id(server: ServedApp) -> None:
    server.policy.script = [CALL, LONG]
    found = events(server, "weather in Oslo")
    assert len({event["id"] for event in found}) == 1
    assert {event["object"] for event in found} == {"chat.completion.chunk"}
    choices = [event["choices"][0] for event in found]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == LONG
    assert sum("content" in choice["delta"] for choice in choices) > 2
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert all("usage" not in event for event in found)


def test_the_turn_is_told_as_it_goes_and_summed_up_at_the_end(server: ServedApp) -> None:
    server.policy.script = [CALL, LONG]
    found = events(server, "weather in Oslo")
    steps = [event["hone"]["step"] for event in found if "step" in event.get("hone", {})]
    assert [(step["index"], step["decision"]) for step in steps] == [(0, "execute"), (0, "execute"), (1, "answer")]
    assert [step["calls"][0]["status"] for step in steps[:2]] == [None, "ok"]
    last = found[-1]["hone"]
    assert (last["decision"], len(last["steps"])) == ("answer", 2)
    assert last["trace"].startswith("trace_")


def test_usage_comes_last_when_asked_for(server: ServedApp) -> None:
    server.policy.script = [LONG]
    found = events(server, "weather", stream_options={"include_usage": True})
    assert found[-1]["choices"] == []
    assert found[-1]["usage"]["completion_tokens"] > 0
    assert all(event["usage"] is None for event in found[:-1])


def test_the_trace_and_the_policy_are_in_the_headers(server: ServedApp) -> None:
    server.policy.script = [LONG]
    response = server.chat("weather", stream=True)
    assert response.headers["x-hone-trace"].startswith("trace_")
    assert response.headers["x-hone-policy"] == "<base>"


def test_a_clarify_is_streamed_with_what_is_missing(server: ServedApp) -> None:
    server.policy.script = [clarify("Which city?")]
    found = events(server, "weather")
    assert found[-1]["hone"]["missing"] == [{"tool": "weather", "parameter": "city"}]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in found) == "Which city?"


def test_a_refusal_is_streamed_as_refusal(server: ServedApp) -> None:
    server.policy.script = [refuse("No tool can do that.")]
    deltas = [event["choices"][0]["delta"] for event in events(server, "fly")]
    assert "".join(delta.get("refusal", "") for delta in deltas) == "No tool can do that."
    assert "".join(delta.get("content", "") for delta in deltas) == ""


def test_a_turn_that_fails_at_once_has_a_status_of_its_own(server: ServedApp) -> None:
    server.policy.script = [PolicyUnavailable("gone")]
    response = server.chat("hi", stream=True)
    assert response.status_code == 503
    assert response.headers["x-hone-trace"]


def test_a_turn_that_fails_later_ends_the_stream_with_the_error(server: ServedApp) -> None:
    server.policy.script = [CALL, PolicyUnavailable("gone in between")] * 2
    assert events(server, "weather in Oslo")[-1]["error"]["message"] == "gone in between"
    stream = server.client.chat.completions.create(
        model="hone", messages=[{"role": "user", "content": "weather in Oslo"}], stream=True
    )
    with pytest.raises(openai.APIError, match="gone in between"), stream:
        list(stream)


def test_the_official_client_reads_the_stream(server: ServedApp) -> None:
    server.policy.script = [CALL, LONG]
    with server.client.chat.completions.create(
        model="hone",
        messages=[{"role": "user", "content": "weather in Oslo"}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == LONG
    assert chunks[-1].usage is not None


def test_the_official_helper_puts_the_stream_together(server: ServedApp) -> None:
    server.policy.script = [refuse("No tool can do that.")]
    with server.client.chat.completions.stream(model="hone", messages=[{"role": "user", "content": "fly"}]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.refusal == "No tool can do that."


async def test_the_asynchronous_client_reads_the_stream(server: ServedApp) -> None:
    server.policy.script = [CALL, LONG]
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="hone", messages=[{"role": "user", "content": "weather in Oslo"}], stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == LONG


def test_an_answer_of_odd_white_space_arrives_as_it_is(server: ServedApp) -> None:
    text = "one\n\n  two\tthree   four\nfive six"
    server.policy.script = [text]
    found = events(server, "list")
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in found) == text
