"""Whatever is thrown at chat and responses: never a failure of ours, always the envelope, and the field at fault by its name."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runtime.prompt import Renderer
from tests.runtime.agent_parts import CITY, tool
from tests.runtime.served_app import ServedApp, served_app

CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
CHAT: dict[str, Any] = {
    "model": "hone",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "W.", "parameters": CITY}}],
    "stream": False,
    "stream_options": {"include_usage": True},
    "metadata": {"topic": "x"},
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 3,
    "max_tokens": 5,
}
RESPONSES: dict[str, Any] = {
    "model": "hone",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city": "Oslo"}'},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
    ],
    "instructions": "Be brief.",
    "tools": [{"type": "function", "name": "weather", "description": "W.", "parameters": CITY, "strict": True}],
    "text": {"format": {"type": "text"}},
    "metadata": {"topic": "x"},
    "temperature": 0.5,
    "top_p": 0.5,
    "max_output_tokens": 5,
    "store": True,
}
REFUSABLE = {
    "/v1/chat/completions": "n stop response_format tool_choice parallel_tool_calls logprobs top_logprobs logit_bias "
    "frequency_penalty presence_penalty functions function_call modalities audio web_search_options moderation",
    "/v1/responses": "tool_choice parallel_tool_calls background conversation prompt truncation max_tool_calls "
    "top_logprobs include context_management moderation previous_response_id stream",
}
ODD = st.sampled_from(
    [
        None,
        True,
        False,
        0,
        -1,
        2**31,
        2**70,
        -1.5,
        1e308,
        float("nan"),
        float("inf"),
        "",
        "x",
        "\ud800",
        "\x00",
        "😀" * 9,
    ]
)
ANY = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner)
)


def places(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a body."""
    if path:
        yield path
    for key, value in body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ():
        yield from places(value, (*path, key))


def changed(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(body))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


@st.composite
def malformed(draw: st.DrawFn) -> tuple[str, str, Any]:
    """Where to, which field was touched, and the body: a sound one with one value changed."""
    path, sound = draw(st.sampled_from([("/v1/chat/completions", CHAT), ("/v1/responses", RESPONSES)]))
    spot = draw(st.sampled_from([*places(sound), *((name,) for name in REFUSABLE[path].split())]))
    return path, str(spot[0]), changed(sound, spot, draw(ANY))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path_factory.mktemp("home"), renderer, tools=[tool()], results={"weather": "x"}) as served:
        yield served


@settings(
    max_examples=300,
    phases=[Phase.generate],  # each case is a request: making a failure smaller would take minutes
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(malformed())
def test_one_wrong_value_is_served_or_named(server: ServedApp, sent: tuple[str, str, Any]) -> None:
    path, field, body = sent
    server.policy.script = ["Hi."]
    response = server.http.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code < 500, response.text
    if response.status_code == 200:
        return
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], bool(error["message"])) == ("invalid_request_error", True)
    assert error["param"].split(".")[0] == field, error


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"3", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"input": ' + b"9" * 5000 + b"}"],
    ids=["empty", "cut", "null", "number", "list", "text", "bytes", "deep", "digits"],
)
def test_a_body_that_is_no_request_has_the_envelope(server: ServedApp, path: str, content: bytes) -> None:
    response = server.http.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("depth", [100, 450, 900])
def test_what_is_nested_deep_is_served_or_named(server: ServedApp, depth: int) -> None:
    deep = '{"a": ' * depth + "1" + "}" * depth
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": deep}}
    item = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": deep}
    offering = '{"input": "hi", "tools": [{"type": "function", "name": "weather", "parameters": DEEP}]}'
    sent = [
        ("/v1/chat/completions", json.dumps(changed(CHAT, ("messages", 2, "tool_calls", 0), call))),
        ("/v1/responses", json.dumps(changed(RESPONSES, ("input", 1), item))),
        ("/v1/responses", offering.replace("DEEP", deep)),
    ]
    for path, content in sent:
        server.policy.script = ["Hi."]
        response = server.http.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code < 500, response.text
        assert response.status_code == 200 or response.json()["error"]["message"]
