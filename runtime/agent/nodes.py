"""The four things that a turn does, as graph nodes: resume, decide, check, execute.

A node takes the state and gives back what changes. It knows no HTTP and keeps nothing between calls.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from langgraph.runtime import Runtime

from runtime.agent.messages import (
    AskedCall,
    Message,
    PendingCall,
    as_shown,
    asking_message,
    asking_reply,
    calls_message,
    error_message,
    open_question,
    reply_message,
    reply_to,
    sound,
    stopped_reply,
    tool_message,
    with_system,
)
from runtime.agent.state import AgentState, Limits, TurnContext, stop_reason, written_tokens
from runtime.decision import DecisionKind, Execute, Invalid, load_decision, parse_decision
from runtime.errors import PromptTooLong
from runtime.policy.base import Policy
from runtime.prompt import Prompt, Renderer
from runtime.traces.schema import Span, ToolOutcome
from tools.json_schema import argument_errors
from tools.outcome import CallResult, error_text
from tools.question import Answer, read_answer
from tools.spec import CallStatus, ClientBackend, SideEffect, ToolSpec

LEAST_ROOM = 128
"""Tokens that a prompt leaves for the completion before old messages are left out, where the context is that large."""
LONGEST_TOKEN = 16
"""Characters; more of a text than this for each token is never looked at."""


class ToolExecutor(Protocol):
    """Runs one call; a tool's fault is a result, never an exception."""

    async def run(
        self, spec: ToolSpec, arguments: dict[str, Any], *, call_id: str, answer: Answer | None = None
    ) -> CallResult: ...


@dataclass(frozen=True, slots=True)
class _Ran:
    outcome: ToolOutcome
    asked: AskedCall | None


class Nodes:
    """The nodes of the agent graph, with what they need to do their work."""

    def __init__(
        self,
        policy: Policy,
        renderer: Renderer,
        executor: ToolExecutor,
        limits: Limits,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._policy = policy
        self._renderer = renderer
        self._executor = executor
        self._limits = limits
        self._timer = timer

    async def resume(self, state: AgentState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        """Goes on with a call that asked the user something, if that is what the user has just answered.

        It is recorded as a span without tokens: the decision was made when the call was.
        """
        asked = open_question(state["messages"])
        spec = runtime.context.specs.get(asked.call.name) if asked is not None else None
        answer = read_answer(asked.question, state["messages"][-1]["content"]) if asked is not None else None
        if asked is None or spec is None or answer is None:
            return {}
        span = Span(
            id=f"{state['trace_id']}.0",
            trace_id=state["trace_id"],
            index=0,
            messages=tuple(as_shown(m) for m in with_system(state["system"], state["messages"])),
            tools=tuple(state["tools"]),
            prompt_token_ids=(),
            completion_token_ids=(),
            logprobs=(),
            text="",
            decision=Execute(calls=(asked.call,)),
        )
        pending = _pending(span.id, Execute(calls=(asked.call,)))
        state = {**state, "spans": [span.model_dump(mode="json")]}
        return self._after(state, pending, [await self._run_one(pending[0], runtime.context, 1, answer)])

    async def decide(self, state: AgentState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        """Renders the conversation, samples, and reads the decision."""
        context = runtime.context
        messages, prompt, dropped = self._fit(state, context.params.max_tokens)
        room = min(
            context.params.max_tokens,
            self._limits.turn_tokens - written_tokens(state),
            self._policy.context_length - len(prompt.token_ids),
        )
        started = self._timer()
        completion = await self._policy.sample(
            prompt.token_ids, replace(context.params, max_tokens=room), adapter=context.adapter
        )
        names = [tool["function"]["name"] for tool in state["tools"]]
        decision = parse_decision(completion.text, names, after_tool_result=messages[-1]["role"] == "tool")
        index = len(state["spans"])
        span = Span(
            id=f"{state['trace_id']}.{index}",
            trace_id=state["trace_id"],
            index=index,
            messages=tuple(messages),
            tools=tuple(state["tools"]),
            prompt_token_ids=prompt.token_ids,
            completion_token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            text=completion.text,
            decision=sound(decision, completion.text),
            latency_ms=(self._timer() - started) * 1000,
        )
        return {
            "spans": [*state["spans"], span.model_dump(mode="json")],
            "repair": [],
            "dropped": dropped,
            "cut": completion.finish_reason == "length",
        }

    async def check(self, state: AgentState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        """Ends the turn with a reply, sends a faulty output back once, or lets sound calls through."""
        span = state["spans"][-1]
        decision = load_decision(span["decision"])
        if isinstance(decision, Invalid):
            return self._repair(state, [{"role": "assistant", "content": decision.raw}, error_message(decision.error)])
        if not isinstance(decision, Execute):
            reply = reply_to(decision)
            return _end(state, reply if not state["cut"] else stopped_reply(decision.kind, "cut", reply.text))
        pending = _pending(span["id"], decision)
        faults = [argument_errors(runtime.context.specs[p.call.name].parameters, p.call.arguments) for p in pending]
        if any(faults):
            return self._refuse_calls(state, pending, faults)
        if isinstance(runtime.context.specs[pending[0].call.name].backend, ClientBackend):
            return _end(state, reply_to(decision, pending))
        return {}

    async def execute(self, state: AgentState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        """Runs the calls of the last decision and shows their results to the policy."""
        span = state["spans"][-1]
        decision = load_decision(span["decision"])
        assert isinstance(decision, Execute)  # the graph leads here from a checked execute only
        pending = _pending(span["id"], decision)
        return self._after(state, pending, await self._run(pending, runtime.context))

    def _after(self, state: AgentState, pending: Sequence[PendingCall], ran: Sequence[_Ran]) -> dict[str, Any]:
        """What the calls came to, for the policy and for the record; the end, where one of them asks the user."""
        asked = next((part.asked for part in ran if part.asked is not None), None)
        outcomes = [part.outcome.model_dump(mode="json") for part in ran]
        state = {
            **state,
            "messages": [*state["messages"], calls_message(pending), *_results(pending, ran)],
            "spans": _with_last(state["spans"], outcomes=outcomes),
        }
        changed = {"messages": state["messages"], "spans": state["spans"]}
        if asked is not None:
            return {**changed, **_end(state, asking_reply(asked))}
        reason = stop_reason(state, self._limits)
        return changed if reason is None else {**changed, **_end(state, stopped_reply(DecisionKind.EXECUTE, reason))}

    def _fit(self, state: AgentState, wanted_tokens: int) -> tuple[list[Message], Prompt, int]:
        """The newest part of the conversation that leaves room for a completion, its prompt, and what was left out.

        Whole exchanges go, oldest first: a conversation begins with a user's message. Raises: PromptTooLong.
        """
        limit = self._policy.context_length
        room = min(wanted_tokens, LEAST_ROOM, limit // 4)
        begin = 0
        while True:
            shown = [as_shown(message) for message in state["messages"][begin:]]
            kept = [*with_system(state["system"], shown), *state["repair"]]
            prompt = self._renderer.render(kept, state["tools"])
            if len(prompt.token_ids) + room <= limit:
                return kept, prompt, begin
            users = (i for i, m in enumerate(state["messages"]) if i > begin and m["role"] == "user")
            following = next(users, None)
            if following is None:
                raise PromptTooLong(
                    f"the prompt has {len(prompt.token_ids)} tokens and the context holds {limit}: "
                    "send a shorter message or fewer tools"
                )
            begin = following

    def _repair(self, state: AgentState, shown: list[Message]) -> dict[str, Any]:
        """Another try with the fault shown, or the end when there was one already."""
        kind = load_decision(state["spans"][-1]["decision"]).kind
        if state["cut"]:
            return _end(state, stopped_reply(kind, "cut"))
        if state["repairs"]:
            return _end(state, stopped_reply(kind, "invalid_output"))
        reason = stop_reason(state, self._limits)
        if reason is not None:
            return _end(state, stopped_reply(kind, reason))
        return {"repair": shown, "repairs": state["repairs"] + 1}

    def _refuse_calls(
        self, state: AgentState, pending: Sequence[PendingCall], faults: Sequence[list[str]]
    ) -> dict[str, Any]:
        """None of the calls is run: half of a decision might do more harm than none of it."""
        outcomes: list[ToolOutcome] = []
        shown: list[Message] = [calls_message(pending)]
        for part, errors in zip(pending, faults, strict=True):
            content = (
                error_text(CallStatus.BAD_ARGUMENTS, "; ".join(errors))
                if errors
                else _not_run("another call beside it was refused")
            )
            shown.append(tool_message(part.id, part.call.name, content))
            if errors:
                outcomes.append(_outcome(part, CallResult(CallStatus.BAD_ARGUMENTS, content, 0.0), content))
        spans = _with_last(
            state["spans"],
            violations=[f"{part.call.name}: {e}" for part, errors in zip(pending, faults, strict=True) for e in errors],
            outcomes=[o.model_dump(mode="json") for o in outcomes],
        )
        return {"spans": spans, **self._repair({**state, "spans": spans}, shown)}

    async def _run(self, pending: Sequence[PendingCall], context: TurnContext) -> list[_Ran]:
        """Calls that only read run side by side; as soon as one changes something, all run in the order given, up to one
        that asks the user."""
        if all(context.specs[p.call.name].side_effect is SideEffect.READ for p in pending):
            return list(await asyncio.gather(*(self._run_one(part, context, len(pending)) for part in pending)))
        ran: list[_Ran] = []
        for part in pending:
            ran.append(await self._run_one(part, context, len(pending)))
            if ran[-1].asked is not None:
                break
        return ran

    async def _run_one(
        self, part: PendingCall, context: TurnContext, beside: int, answer: Answer | None = None
    ) -> _Ran:
        """Args: beside: how many results share the room that the policy's context has for them."""
        tokens = max(64, self._policy.context_length // 4 // beside)
        spec = context.specs[part.call.name]
        result = await self._executor.run(spec, dict(part.call.arguments), call_id=part.id, answer=answer)
        asked = AskedCall(call=part.call, question=result.question) if result.question is not None else None
        return _Ran(_outcome(part, result, self._cut(result.content, tokens)), asked)

    def _cut(self, content: str, tokens: int) -> str:
        """`content`, or its beginning and a note, so that one large result does not fill the policy's context."""
        beginning = content[: tokens * LONGEST_TOKEN]
        ids = self._renderer.tokenizer.encode(beginning, add_special_tokens=False)
        if len(ids) <= tokens and beginning == content:
            return content
        kept = self._renderer.decode(ids[:tokens]).rstrip("\ufffd")
        return f"{kept} [cut: {len(kept)} of {len(content)} characters shown]"


def _pending(span_id: str, decision: Execute) -> tuple[PendingCall, ...]:
    """Calls with ids that stay the same when a node is run again, so that a tool may tell a repetition."""
    trace, _, index = span_id.rpartition(".")
    stem = trace.removeprefix("trace_")[:24]
    return tuple(PendingCall(id=f"call_{stem}_{index}_{n}", call=call) for n, call in enumerate(decision.calls))


def _outcome(part: PendingCall, result: CallResult, shown: str) -> ToolOutcome:
    return ToolOutcome(
        call_id=part.id, call=part.call, status=result.status, content=shown, latency_ms=result.latency_ms
    )


def _results(pending: Sequence[PendingCall], ran: Sequence[_Ran]) -> list[Message]:
    """One message for each call; those after one that asks were not run. Only the first question is put."""
    messages: list[Message] = []
    is_put = False
    for part in ran:
        told = part.outcome.call_id, part.outcome.call.name, part.outcome.content
        puts = part.asked if not is_put else None
        messages.append(asking_message(*told, puts) if puts is not None else tool_message(*told))
        is_put = is_put or puts is not None
    waiting = _not_run("a call before it waits for the user's answer")
    return [*messages, *(tool_message(part.id, part.call.name, waiting) for part in pending[len(ran) :])]


def _not_run(because: str) -> str:
    return json.dumps({"error": "not_run", "message": f"not run, because {because}"})


def _with_last(spans: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [*spans[:-1], {**spans[-1], **changes}]


def _end(state: AgentState, reply: Any) -> dict[str, Any]:
    return {"reply": reply.model_dump(mode="json"), "messages": [*state["messages"], reply_message(reply)]}
