"""OpenTelemetry spans of turns, by the GenAI conventions: invoke_agent → chat, execute_tool.

Where they go to, the standard variables say (`runtime.settings.trace_export`). What was said is not in them, unless
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT asks for it; an exception is told by its kind. A turn belongs to the trace of
the request that began it, and a tool's HTTP endpoint is told its span (`tools.http_calls`).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from runtime.agent.messages import Message, Reply
from runtime.agent.observer import Observer, PolicyAnswered, PolicyAsked, ToolAnswered, TurnBegun, TurnEnded
from runtime.decision import Decision, confidence
from runtime.policy.base import BASE_POLICY, Completion
from runtime.traces.schema import Trace, TraceStatus
from tools.outcome import CallResult
from tools.spec import CallStatus, HttpBackend, McpBackend, ToolSpec

AGENT = "hone"
PROVIDER = "hone"
"""The conventions name companies; this is none of them."""
_NO_FAULT = frozenset({CallStatus.OK, CallStatus.INPUT_REQUIRED})


def open_provider() -> TracerProvider:
    """Sends spans by OTLP, in batches from a thread of its own; `shutdown` sends the last ones."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):  # no variable names it
        resource = resource.merge(Resource({SERVICE_NAME: AGENT}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing(Observer):
    """Makes a span of each thing that it sees."""

    def __init__(self, provider: otel.TracerProvider, *, content: bool = False) -> None:
        """Args: content: spans hold what was said."""
        self._tracer = provider.get_tracer("hone")
        self._content = content

    @contextmanager
    def turn(self, begun: TurnBegun) -> Iterator[TurnEnded]:
        attributes: dict[str, AttributeValue] = {
            gen_ai.GEN_AI_OPERATION_NAME: gen_ai.GenAiOperationNameValues.INVOKE_AGENT.value,
            gen_ai.GEN_AI_PROVIDER_NAME: PROVIDER,
            gen_ai.GEN_AI_AGENT_NAME: AGENT,
            gen_ai.GEN_AI_CONVERSATION_ID: begun.thread_id,
            gen_ai.GEN_AI_REQUEST_MODEL: begun.model,
            "hone.trace": begun.trace_id,
            "hone.resumed": begun.resumed,
            **_adapter(begun.adapter),
        }
        if begun.adapter_sha256 is not None:
            attributes["hone.adapter.sha256"] = begun.adapter_sha256
        with self._span(f"invoke_agent {AGENT}", SpanKind.INTERNAL, attributes) as span:

            def ended(trace: Trace, reply: Reply | None) -> None:
                read = sum(len(s.prompt_token_ids) for s in trace.spans)
                span.set_attribute(gen_ai.GEN_AI_USAGE_INPUT_TOKENS, read)
                written = sum(len(s.completion_token_ids) for s in trace.spans)
                span.set_attribute(gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, written)
                span.set_attribute("hone.outcome", trace.status.value)
                if reply is not None:
                    span.set_attribute("hone.decision", reply.decision.value)
                if reply is not None and reply.stopped is not None:
                    span.set_attribute("hone.stopped", reply.stopped)
                if trace.status is TraceStatus.FAILED:
                    _fault(span, (trace.error or "").partition(":")[0] or "failed")

            yield ended

    @contextmanager
    def policy_call(self, asked: PolicyAsked) -> Iterator[PolicyAnswered]:
        attributes: dict[str, AttributeValue] = {
            gen_ai.GEN_AI_OPERATION_NAME: gen_ai.GenAiOperationNameValues.CHAT.value,
            gen_ai.GEN_AI_PROVIDER_NAME: PROVIDER,
            gen_ai.GEN_AI_REQUEST_MODEL: asked.model,
            gen_ai.GEN_AI_REQUEST_MAX_TOKENS: asked.params.max_tokens,
            gen_ai.GEN_AI_REQUEST_TEMPERATURE: asked.params.temperature,
            gen_ai.GEN_AI_REQUEST_TOP_P: asked.params.top_p,
            gen_ai.GEN_AI_USAGE_INPUT_TOKENS: asked.prompt_tokens,
            gen_ai.GEN_AI_RESPONSE_ID: asked.span_id,
            **_adapter(asked.adapter),
        }
        if asked.params.seed is not None:
            attributes[gen_ai.GEN_AI_REQUEST_SEED] = asked.params.seed
        if self._content:
            attributes[gen_ai.GEN_AI_INPUT_MESSAGES] = _as_messages(asked.messages)
        with self._span(f"chat {asked.model}", SpanKind.CLIENT, attributes) as span:

            def answered(completion: Completion, decision: Decision) -> None:
                span.set_attribute(gen_ai.GEN_AI_RESPONSE_MODEL, asked.model)
                span.set_attribute("hone.decision", decision.kind.value)
                span.set_attribute("hone.confidence", confidence(completion.logprobs))
                span.set_attribute(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, (completion.finish_reason,))
                span.set_attribute(gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, len(completion.token_ids))
                if completion.phases is not None:
                    span.set_attribute("hone.policy.queue_s", completion.phases.queue_s)
                    span.set_attribute("hone.policy.prefill_s", completion.phases.prefill_s)
                    span.set_attribute("hone.policy.decode_s", completion.phases.decode_s)
                if self._content:
                    said = {"role": "assistant", "content": completion.text}
                    span.set_attribute(
                        gen_ai.GEN_AI_OUTPUT_MESSAGES, _as_messages([said], finish_reason=completion.finish_reason)
                    )

            yield answered

    @contextmanager
    def tool_call(self, spec: ToolSpec, call_id: str, arguments: Mapping[str, Any]) -> Iterator[ToolAnswered]:
        calls_outside = isinstance(spec.backend, HttpBackend | McpBackend)
        attributes: dict[str, AttributeValue] = {
            gen_ai.GEN_AI_OPERATION_NAME: gen_ai.GenAiOperationNameValues.EXECUTE_TOOL.value,
            gen_ai.GEN_AI_TOOL_NAME: spec.name,
            gen_ai.GEN_AI_TOOL_CALL_ID: call_id,
            gen_ai.GEN_AI_TOOL_TYPE: "extension" if calls_outside else "function",
            "hone.tool.side_effect": spec.side_effect.value,
        }
        if self._content:
            attributes[gen_ai.GEN_AI_TOOL_CALL_ARGUMENTS] = json.dumps(dict(arguments), ensure_ascii=False)
        with self._span(f"execute_tool {spec.name}", SpanKind.INTERNAL, attributes) as span:

            def answered(result: CallResult) -> None:
                span.set_attribute("hone.tool.status", result.status.value)
                if result.status not in _NO_FAULT:
                    _fault(span, result.status.value)
                if self._content:
                    span.set_attribute(gen_ai.GEN_AI_TOOL_CALL_RESULT, result.content)

            yield answered

    @contextmanager
    def _span(self, name: str, kind: SpanKind, attributes: Mapping[str, AttributeValue]) -> Iterator[Span]:
        """The current span while the block runs; an exception is told by its kind, since its words may be a user's."""
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as e:
                _fault(span, type(e).__name__)
                raise


def _adapter(name: str | None) -> dict[str, AttributeValue]:
    return {"hone.adapter": name or BASE_POLICY}


def _fault(span: Span, kind: str) -> None:
    span.set_attribute(error_attributes.ERROR_TYPE, kind)
    span.set_status(Status(StatusCode.ERROR))


def _as_messages(messages: Sequence[Message], **others: str) -> str:
    """The conventions' form of a conversation, as JSON."""
    return json.dumps([{**_as_message(message), **others} for message in messages], ensure_ascii=False)


def _as_message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    content = message.get("content")
    if message["role"] == "tool":
        parts.append({"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content})
    elif content:
        parts.append({"type": "text", "content": content})
    for call in message.get("tool_calls") or ():
        function = call["function"]
        parts.append(
            {"type": "tool_call", "id": call.get("id"), "name": function["name"], "arguments": function["arguments"]}
        )
    return {"role": message["role"], "parts": parts}
