"""Spans of turns, as a real OTLP receiver gets them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from runtime.errors import BadSettings, PolicyUnavailable
from runtime.prompt import Renderer
from runtime.settings import trace_export
from tests.runtime.agent_parts import execute, tool
from tests.runtime.otlp_receiver import OtlpReceiver, attributes, otlp_receiver
from tests.runtime.served_app import served_app
from tests.tools.http_service import build_service
from tests.tools.serving import serving
from tools.spec import CallStatus, HttpBackend, ToolSpec

CANARY = "canary-4711"
DRINK = {"type": "object", "properties": {"drink": {"type": "string"}}, "required": ["drink"]}
CALL = execute(("order", {"drink": CANARY}))
CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        yield receiver


def order_tool(url: str) -> ToolSpec:
    return ToolSpec(name="order", description="Orders.", parameters=DRINK, backend=HttpBackend(url=f"{url}/orders"))


def have_a_turn(home: Path, renderer: Renderer, **headers: str) -> dict[str, str]:
    """A turn with one call of a real HTTP tool; the server has ended, and so sent its spans, when this returns. Gives the headers
    that the tool's service got."""
    service = build_service()
    with (
        serving(service) as url,
        served_app(home, renderer, [CALL, f"Here is {CANARY}."], executor=None, tools=[order_tool(url)]) as server,
    ):
        body = {"messages": [{"role": "user", "content": f"I want {CANARY}"}]}
        reply = server.http.post("/v1/chat/completions", json=body, headers=headers)
        assert reply.json()["choices"][0]["message"]["content"] == f"Here is {CANARY}."
    (got,) = service.state.headers
    return got


def test_a_turn_with_one_call_is_a_tree_by_the_conventions(
    tmp_path: Path, renderer: Renderer, receiver: OtlpReceiver
) -> None:
    have_a_turn(tmp_path, renderer)
    assert [span.name for span in receiver.spans] == [
        "invoke_agent hone",
        "chat scripted",
        "execute_tool order",
        "chat scripted",
    ]
    agent, first, called, _ = receiver.spans
    assert agent.parent_span_id == b""
    assert {span.parent_span_id for span in receiver.spans[1:]} == {agent.span_id}
    assert len({span.trace_id for span in receiver.spans}) == 1
    assert first.kind == Span.SPAN_KIND_CLIENT
    assert first.end_time_unix_nano <= called.start_time_unix_nano
    about = attributes(agent)
    assert about["gen_ai.operation.name"] == "invoke_agent"
    assert about["gen_ai.agent.name"] == "hone"
    assert about["gen_ai.conversation.id"].startswith("thread_")
    assert (about["hone.decision"], about["hone.outcome"], about["hone.adapter"]) == ("answer", "finished", "<base>")
    about = attributes(first)
    assert about["gen_ai.operation.name"] == "chat"
    assert about["gen_ai.request.model"] == "scripted"
    assert about["gen_ai.response.finish_reasons"] == ["stop"]
    assert about["gen_ai.response.id"] == f"{attributes(agent)['hone.trace']}.0"
    assert about["gen_ai.usage.input_tokens"] > about["gen_ai.usage.output_tokens"] > 0
    assert about["hone.decision"] == "execute"
    assert 0 < about["hone.confidence"] < 1
    assert about["hone.adapter"] == "<base>"
    about = attributes(called)
    assert about["gen_ai.operation.name"] == "execute_tool"
    assert (about["gen_ai.tool.name"], about["gen_ai.tool.type"]) == ("order", "extension")
    assert about["gen_ai.tool.call.id"].startswith("call_")
    assert about["hone.tool.status"] == "ok"
    assert receiver.resources[0]["service.name"] == "hone"


def test_what_was_said_stays_out_of_the_spans(tmp_path: Path, renderer: Renderer, receiver: OtlpReceiver) -> None:
    have_a_turn(tmp_path, renderer)
    assert receiver.spans
    assert not any(CANARY.encode() in body for body in receiver.bodies)


def test_what_was_said_is_in_the_spans_where_the_standard_variable_asks_for_it(
    tmp_path: Path, renderer: Renderer, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    have_a_turn(tmp_path, renderer)
    _, first, called, last = map(attributes, receiver.spans)
    assert json.loads(first["gen_ai.input.messages"])[-1] == {
        "role": "user",
        "parts": [{"type": "text", "content": f"I want {CANARY}"}],
    }
    (answer,) = json.loads(last["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": f"Here is {CANARY}."}]
    told = json.loads(last["gen_ai.input.messages"])
    assert [part["type"] for message in told for part in message["parts"]] == [
        "text",
        "tool_call",
        "tool_call_response",
    ]
    assert json.loads(called["gen_ai.tool.call.arguments"]) == {"drink": CANARY}
    assert CANARY in called["gen_ai.tool.call.result"]


def test_the_trace_of_the_caller_goes_on_and_reaches_the_tool(
    tmp_path: Path, renderer: Renderer, receiver: OtlpReceiver
) -> None:
    trace, parent = CALLER
    got = have_a_turn(tmp_path, renderer, traceparent=f"00-{trace}-{parent}-01", baggage=f"user={CANARY}")
    agent, called = receiver.named("invoke_agent"), receiver.named("execute_tool")
    assert (agent.trace_id.hex(), agent.parent_span_id.hex()) == CALLER
    assert got["traceparent"] == f"00-{trace}-{called.span_id.hex()}-01"
    assert "baggage" not in got


def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(
    tmp_path: Path, renderer: Renderer, receiver: OtlpReceiver
) -> None:
    have_a_turn(tmp_path, renderer, traceparent="00-nonsense")
    assert receiver.named("invoke_agent").parent_span_id == b""


def test_failures_show_their_kind_and_not_their_words(
    tmp_path: Path, renderer: Renderer, receiver: OtlpReceiver
) -> None:
    script = [execute(("weather", {"city": "Oslo"})), PolicyUnavailable(CANARY)]

    results = {"weather": (CallStatus.FAILED, "broke")}
    with served_app(tmp_path, renderer, script, tools=[tool()], results=results) as server:
        assert server.chat("weather").status_code == 503
    agent, _, called, failed = receiver.spans
    for span in (agent, called, failed):
        assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(called)["error.type"] == "failed"
    assert attributes(agent)["error.type"] == attributes(failed)["error.type"] == "PolicyUnavailable"
    assert not any(CANARY.encode() in body for body in receiver.bodies)


def test_without_an_endpoint_no_tool_is_told_of_a_trace(tmp_path: Path, renderer: Renderer) -> None:
    assert "traceparent" not in have_a_turn(tmp_path, renderer)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (
            ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            True,
        ),
    ],
)
def test_the_standard_variables_say_whether_spans_are_sent(environment: dict[str, str], wanted: bool) -> None:
    assert trace_export(environment).wanted is wanted


@pytest.mark.parametrize(
    "more", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_TRACES_EXPORTER": "zipkin"}], ids=["grpc", "zipkin"]
)
def test_a_way_of_sending_that_is_not_here_is_told_at_the_start(more: dict[str, str]) -> None:
    (name,) = more
    with pytest.raises(BadSettings, match=f"{name}=.*is not here: set it to"):
        trace_export(ENDPOINT | more)


@pytest.mark.parametrize(
    ("given", "content"), [("", False), ("true", True), ("SPAN_AND_EVENT", True), ("EVENT_ONLY", False), ("no", False)]
)
def test_the_content_is_captured_only_where_spans_are_to_hold_it(given: str, content: bool) -> None:
    environment = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": given}
    assert trace_export(environment).content is content
