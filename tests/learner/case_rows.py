"""Rows, traces and a scripted policy for the learner's tests."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from learner.rows import GroundTruth, RewardModel, Row
from runtime.decision import Execute, ToolCall
from runtime.errors import PromptTooLong, UnknownAdapter
from runtime.grammar import decision_grammar
from runtime.policy.base import Completion, SamplingParams
from runtime.prompt import Message, Prompt, Renderer
from runtime.traces.schema import Span, Trace, TraceStatus, Verdict, VerdictOutcome

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def tool(name: str, required: Sequence[str] = (), **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "description": name, "parameters": parameters}}


WEATHER = tool("weather", ["city"], city={"type": "string"}, days={"type": "integer", "default": 1})
TIMER = tool("timer", ["minutes"], minutes={"type": "number"})
NOTES = tool("notes", ["text"], text={"type": "string"}, tags={"type": "array", "items": {"type": "string"}})
TOOLS = (WEATHER, TIMER, NOTES)


def row(row_id: str, user: str = "hello", *, tools: Sequence[dict[str, Any]] = TOOLS, **truth: Any) -> Row:
    return Row(
        data_source="test",
        prompt=({"role": "user", "content": f"{row_id}: {user}"},),
        tools=tuple(tools),
        reward_model=RewardModel(ground_truth=GroundTruth.model_validate(truth)),
        extra_info={"id": row_id, "split": "eval"},
    )


def mixed_rows(n: int = 60) -> list[Row]:
    """Execute 60 %, clarify 20 %, refuse 20 %, over the three tools in turn."""
    rows: list[Row] = []
    arguments = ({"city": "Oslo"}, {"minutes": 5}, {"text": "milk"})
    required = ("city", "minutes", "text")
    for i in range(n):
        name = TOOLS[i % 3]["function"]["name"]
        kind = i % 5
        if kind < 3:
            call = {"name": name, "arguments": arguments[i % 3]}
            rows.append(row(f"r{i}", decision="execute", tool_calls=[call]))
        elif kind == 3:
            missing = [{"tool": name, "parameter": required[i % 3]}]
            rows.append(row(f"r{i}", decision="clarify", missing=missing))
        else:
            rows.append(row(f"r{i}", decision="refuse", category="out_of_scope"))
    return rows


def written(call_name: str, **arguments: Any) -> str:
    """What a policy writes to call a tool."""
    return "<tool_call>" + json.dumps({"name": call_name, "arguments": arguments}) + "</tool_call>"


def right_text(of: Row) -> str:
    """What a policy that knows the truth writes."""
    truth = of.truth
    match truth.decision:
        case "execute":
            return "".join(written(call.name, **call.arguments) for call in truth.tool_calls)
        case "clarify":
            return written("ask_user", question="Which?", missing=list(truth.missing))
        case "refuse":
            return written("decline", reason="No tool does that.", category=truth.category or "out_of_scope")
    return truth.text or "Done."


class ScriptedPolicy:
    """Answers by a function of the prompt's text and the adapter; token ids are the text's code points."""

    model = "scripted"

    def __init__(self, answer: Callable[[str, str | None], str], *, context_length: int = 4096) -> None:
        self.context_length = context_length
        self.loaded: dict[str, Path] = {}
        self.ever_loaded: list[str] = []
        self._answer = answer

    async def sample(
        self, prompt_ids: Sequence[int], params: SamplingParams, *, adapter: str | None = None
    ) -> Completion:
        if adapter is not None and adapter not in self.loaded:
            raise UnknownAdapter(adapter)
        if len(prompt_ids) >= self.context_length:
            raise PromptTooLong("too long")
        text = self._answer("".join(map(chr, prompt_ids)), adapter)
        ids = tuple(map(ord, text))
        return Completion(text, ids, (0.0,) * len(ids), "stop", adapter)

    async def score(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, adapter: str | None = None
    ) -> tuple[float, ...]:
        return (0.0,) * len(completion_ids)

    async def load_adapter(self, name: str, path: Path) -> None:
        assert name not in self.ever_loaded, "a name is used once"
        self.loaded[name] = path
        self.ever_loaded.append(name)

    async def unload_adapter(self, name: str) -> None:
        del self.loaded[name]

    async def adapters(self) -> frozenset[str]:
        return frozenset(self.loaded)

    async def close(self) -> None:
        pass


class PlainRenderer(Renderer):
    """The last message as it is; token ids are code points."""

    def __init__(self) -> None:
        super().__init__(tokenizer=None)

    def render(self, messages: Sequence[Message], tools: Sequence[Any]) -> Prompt:
        text = messages[-1]["content"]
        return Prompt(text=text, token_ids=tuple(map(ord, text)))

    def grammar(self, tools: Sequence[Any]) -> str:
        return decision_grammar(tools, is_token=False)


def by_row(rows: Sequence[Row], decide: Callable[[Row, str | None], str]) -> Callable[[str, str | None], str]:
    """An answer function for `ScriptedPolicy` that finds the row again by its prompt."""
    known = {row.prompt[-1]["content"]: row for row in rows}
    return lambda text, adapter: decide(known[text], adapter)


def judged(
    span_id: str,
    truth: dict[str, Any] | None,
    outcome: VerdictOutcome = VerdictOutcome.VERIFIED,
    *,
    thread: str | None = None,
    user: str | None = None,
    tools: Sequence[dict[str, Any]] = TOOLS,
    minute: int = 0,
) -> tuple[Trace, Span, Verdict]:
    """A turn of one span with its verdict; each has a prompt of its own unless `user` says otherwise."""
    at = NOON + timedelta(minutes=minute)
    span = Span(
        id=span_id,
        trace_id=f"trace-{span_id}",
        index=0,
        messages=({"role": "user", "content": user or f"request {span_id}"},),
        tools=tuple(tools),
        prompt_token_ids=(1,),
        completion_token_ids=(2,),
        logprobs=(0.0,),
        text="",
        decision=Execute(calls=(ToolCall(name="weather", arguments={"city": "Oslo"}),)),
    )
    trace = Trace(
        id=span.trace_id,
        thread_id=thread or f"thread-{span_id}",
        created_at=at,
        model="test",
        adapter=None,
        adapter_sha256=None,
        status=TraceStatus.FINISHED,
        spans=(span,),
    )
    verdict = Verdict(span_id=span_id, outcome=outcome, reason="test", ground_truth=truth, decided_at=at)
    return trace, span, verdict


def executes(city: str = "Oslo") -> dict[str, Any]:
    return {"decision": "execute", "tool_calls": [{"name": "weather", "arguments": {"city": city}}]}


def clarifies() -> dict[str, Any]:
    return {"decision": "clarify", "missing": [{"tool": "timer", "parameter": "minutes"}]}
