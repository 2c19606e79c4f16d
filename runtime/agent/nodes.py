"""What a turn does, as graph nodes: resume, decide, wait for approval where it is needed, execute.

A node takes the state and gives back what changes. It knows no HTTP and keeps nothing between calls.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from langgraph.runtime import Runtime
from langgraph.types import interrupt

from runtime.agent.consent import ConsentRules, call_digest, is_tainted
from runtime.agent.messages import (
    AskedCall,
    Message,
    PendingCall,
    as_shown,
    asking_message,
    asking_reply,
    calls_message,
    error_message,
    is_new_request,
    open_question,
    reply_message,
    reply_to,
    sound,
    stopped_reply,
    tool_message,
    with_system,
)
from runtime.agent.observer import Observer, PolicyAsked
from runtime.agent.state import AgentState, Limits, TurnContext, next_ask, stop_reason, system_text, written_tokens
from runtime.approvals.schema import ApprovalState, Use
from runtime.decision import DecisionKind, Execute, Invalid, confidence, load_decision, parse_decision
from runtime.errors import PromptTooLong, TurnTooLong
from runtime.policy.base import Policy
from runtime.prompt import Prompt, Renderer
from runtime.traces.schema import Span, ToolOutcome, call_prefix
from tools.journal import ReadRow
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

    @property
    def makes_each_call_once(self) -> bool:
        """Whether a call id that is given again gets what came of the first, and no second effect."""
        ...

    async def run(
        self,
        spec: ToolSpec,
        arguments: dict[str, Any],
        *,
        call_id: str,
        answer: Answer | None = None,
        reads: list[ReadRow] | None = None,
    ) -> CallResult:
        """Args: reads: takes what is to be written of a call that only reads."""
        ...


@dataclass(frozen=True, slots=True)
class _Ran:
    outcome: ToolOutcome
    asked: AskedCall | None
    is_ours: bool
    """Nobody outside can have written the result."""


class Ledger(Protocol):
    """Lets an approval be used once, for the call that it was given for."""

    def use(self, approval_id: str, *, thread_id: str, digest: str) -> Use: ...


_NOT_GRANTED: Mapping[Use, tuple[CallStatus, str]] = {
    Use.EXPIRED: (CallStatus.LAPSED, "not run: the approval had run out; ask again if it is still wanted"),
    Use.MISMATCH: (CallStatus.LAPSED, "not run: what was approved is not this call, or the tool has changed since"),
    Use.SPENT: (
        CallStatus.FAILED,
        "the server stopped while this approved call ran; whether it took effect is not known, and it is not run again",
    ),
}


class Nodes:
    """The nodes of the agent graph, with what they need to do their work."""

    def __init__(
        self,
        policy: Policy,
        renderer: Renderer,
        executor: ToolExecutor,
        limits: Limits,
        ledger: Ledger,
        *,
        consent: ConsentRules = ConsentRules(),  # noqa: B008 (frozen)
        observer: Observer = Observer(),  # noqa: B008 (keeps nothing)
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._policy = policy
        self._renderer = renderer
        self._executor = executor
        self._limits = limits
        self._ledger = ledger
        self._consent = consent
        self._observer = observer
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
            messages=tuple(as_shown(m) for m in with_system(system_text(state), state["messages"])),
            tools=tuple(state["tools"]),
            prompt_token_ids=(),
            completion_token_ids=(),
            logprobs=(),
            text="",
            decision=Execute(calls=(asked.call,)),
        )
        # of whatever run: the call is given, not decided, and may have been made
        pending = _pending(span.id, Execute(calls=(asked.call,)), run=1)
        state = {**state, "spans": [span.model_dump(mode="json")]}
        # the approval that the call had, if it needed one, was for the call that asked: a new one would need its own
        why = self._consent.why(spec, tainted=is_tainted(state["messages"]), confidence=1.0)
        answer = answer.model_copy(update={"may_call_again": why is None})
        ran = await self._run_one(pending[0], spec, 1, runtime.context, answer)
        return self._after(state, pending, [ran], runtime.context)

    async def decide(self, state: AgentState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        """Samples a decision and checks it: the turn ends with a reply, or a faulty output goes back once, or sound calls go on."""
        decided = await self._sample(state, runtime.context)
        if "reply" in decided:
            return decided
        after: Any = {**state, **decided}
        return decided | self._check(after, runtime.context)

    async def _sample(self, state: AgentState, context: TurnContext) -> dict[str, Any]:
        """Renders the conversation, samples, and reads the decision."""
        messages, prompt, dropped = self._fit(state, context.params.max_tokens)
        room = min(
            context.params.max_tokens,
            self._limits.turn_tokens - written_tokens(state),
            self._policy.context_length - len(prompt.token_ids),
        )
        started = self._timer()
        params = replace(context.params, max_tokens=room, grammar=self._renderer.grammar(state["tools"]))
        index = len(state["spans"])
        span_id = f"{state['trace_id']}.{index}"
        asked = PolicyAsked(
            span_id, self._policy.model, context.adapter, params, len(prompt.token_ids), messages=messages
        )
        with self._observer.policy_call(asked) as answered:
            limit = asyncio.timeout_at(context.deadline)
            try:
                async with limit:
                    completion = await self._policy.sample(prompt.token_ids, params, adapter=context.adapter)
            except TimeoutError:
                if not limit.expired():
                    raise
                if not state["spans"]:
                    raise TurnTooLong(
                        f"the turn had no decision within {self._limits.seconds:g} s: send it again later"
                    ) from None
                return _end(state, stopped_reply(DecisionKind.EXECUTE, "time_limit"))
            names = [tool["function"]["name"] for tool in state["tools"]]
            decision = parse_decision(completion.text, names, after_tool_result=messages[-1]["role"] == "tool")
            answered(completion, decision)
        span = Span(
            id=span_id,
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
            "run": context.run,
            "repair": [],
            "dropped": dropped,
            "cut": completion.finish_reason == "length",
        }

    def _check(self, state: AgentState, context: TurnContext) -> dict[str, Any]:
        span = state["spans"][-1]
        decision = load_decision(span["decision"])
        if isinstance(decision, Invalid):
            shown = [{"role": "assistant", "content": decision.raw}, error_message(decision.error)]
            return self._repair(state, shown, context)
        if not isinstance(decision, Execute):
            reply = reply_to(decision)
            return _end(state, reply if not state["cut"] else stopped_reply(decision.kind, "cut", reply.text))
        pending = _pending(span["id"], decision, run=state["run"])
        faults = [argument_errors(context.specs[p.call.name].parameters, p.call.arguments) for p in pending]
        if any(faults):
            return self._refuse_calls(state, pending, faults, context)
        if context.stops():
            return _end(state, stopped_reply(decision.kind, "interrupted"))
        if isinstance(context.specs[pending[0].call.name].backend, ClientBackend):
            return _end(state, reply_to(decision, pending))
        asks = self._consent.asks(
            pending,
            context.specs,
            tainted=is_tainted(state["messages"]),
            confidence=confidence(span["logprobs"]),
            thread_id=context.thread_id,
        )
        acts = any(context.specs[p.call.name].side_effect is not SideEffect.READ for p in pending)
        return {"acts": acts, "asks": [ask.model_dump(mode="json") for ask in asks], "consents": {}}

    async def approve(self, state: AgentState) -> dict[str, Any]:
        """Waits for a person's answer on one call.

        Runs again from its start when the answer is there; until it is known, nothing of the decision is run.
        """
        ask = next_ask(state)
        assert ask is not None  # the graph leads here for as long as one is left
        answer = interrupt(ask)
        return {"consents": {**state["consents"], ask["call_id"]: answer}}

    async def execute(self, state: AgentState, runtime: Runtime[TurnContext]) -> dict[str, Any]:
        """Runs the calls of the last decision and shows their results to the policy.

        Two nodes of the graph: before the one for calls that act, the turn's state is kept for good.
        """
        span = state["spans"][-1]
        decision = load_decision(span["decision"])
        assert isinstance(decision, Execute)  # the graph leads here from a checked execute only
        pending = _pending(span["id"], decision, run=state.get("run", 1))
        return self._after(state, pending, await self._run(pending, state, runtime.context), runtime.context)

    def _after(
        self, state: AgentState, pending: Sequence[PendingCall], ran: Sequence[_Ran], context: TurnContext
    ) -> dict[str, Any]:
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
        if not context.can_decide:
            told = "\n".join(f"{part.outcome.call.name}: {part.outcome.content}" for part in ran)
            return {**changed, **_end(state, stopped_reply(DecisionKind.EXECUTE, "adapter_gone", told))}
        if context.stops():
            return {**changed, **_end(state, stopped_reply(DecisionKind.EXECUTE, "interrupted"))}
        reason = stop_reason(state, self._limits, is_late=_is_late(context))
        return changed if reason is None else {**changed, **_end(state, stopped_reply(DecisionKind.EXECUTE, reason))}

    def _fit(self, state: AgentState, wanted_tokens: int) -> tuple[list[Message], Prompt, int]:
        """The newest part of the conversation that leaves room for a completion, its prompt, and what was left out.

        Whole exchanges go, oldest first: a conversation begins with a user's request. What the user says to a question stays with
        it as long as the two fit. Raises: PromptTooLong.
        """
        limit = self._policy.context_length
        room = min(wanted_tokens, LEAST_ROOM, limit // 4)
        begin = 0
        while True:
            kept = [*with_system(system_text(state), map(as_shown, state["messages"][begin:])), *state["repair"]]
            prompt = self._renderer.render(kept, state["tools"])
            if len(prompt.token_ids) + room <= limit:
                return kept, prompt, begin
            later = range(begin + 1, len(state["messages"]))
            users = (i for i in later if state["messages"][i]["role"] == "user")
            requests = (i for i in later if is_new_request(state["messages"], i))
            following = next(requests, None) or next(users, None)
            if following is None:
                raise PromptTooLong(
                    f"the prompt has {len(prompt.token_ids)} tokens and the context holds {limit}: "
                    "send a shorter message or fewer tools"
                )
            begin = following

    def _repair(self, state: AgentState, shown: list[Message], context: TurnContext) -> dict[str, Any]:
        """Another try with the fault shown, or the end when there was one already."""
        kind = load_decision(state["spans"][-1]["decision"]).kind
        if state["cut"]:
            return _end(state, stopped_reply(kind, "cut"))
        if state["repairs"]:
            return _end(state, stopped_reply(kind, "invalid_output"))
        reason = stop_reason(state, self._limits, is_late=_is_late(context))
        if reason is not None:
            return _end(state, stopped_reply(kind, reason))
        return {"repair": shown, "repairs": state["repairs"] + 1}

    def _refuse_calls(
        self, state: AgentState, pending: Sequence[PendingCall], faults: Sequence[list[str]], context: TurnContext
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
                self._observer.tool_withheld(context.specs.get(part.call.name), CallStatus.BAD_ARGUMENTS)
                outcomes.append(_outcome(part, CallResult(CallStatus.BAD_ARGUMENTS, content, 0.0), content))
        spans = _with_last(
            state["spans"],
            violations=[f"{part.call.name}: {e}" for part, errors in zip(pending, faults, strict=True) for e in errors],
            outcomes=[o.model_dump(mode="json") for o in outcomes],
        )
        return {"spans": spans, **self._repair({**state, "spans": spans}, shown, context)}

    async def _run(self, pending: Sequence[PendingCall], state: AgentState, context: TurnContext) -> list[_Ran]:
        """Calls that only read run side by side; as soon as one changes something, all run in the order given, up to one
        that asks the user."""

        async def run(part: PendingCall) -> _Ran:
            spec = context.specs.get(part.call.name)
            withheld = await self._withheld(part, spec, state, context)
            if withheld is not None:
                self._observer.tool_withheld(spec, withheld.status)
                return _Ran(_outcome(part, withheld, withheld.content), asked=None, is_ours=True)
            assert spec is not None  # a tool that is gone is withheld
            return await self._run_one(part, spec, len(pending), context)

        specs = [context.specs.get(p.call.name) for p in pending]
        if all(spec is not None and spec.side_effect is SideEffect.READ for spec in specs):
            return list(await asyncio.gather(*(run(part) for part in pending)))
        ran: list[_Ran] = []
        for part in pending:
            ran.append(await run(part))
            if ran[-1].asked is not None:
                break
        return ran

    async def _run_one(
        self, part: PendingCall, spec: ToolSpec, beside: int, context: TurnContext, answer: Answer | None = None
    ) -> _Ran:
        """Args: beside: how many results share the room that the policy's context has for them."""
        tokens = max(64, self._policy.context_length // 4 // beside)
        with self._observer.tool_call(spec, part.id, part.call.arguments) as answered:
            result = await self._executor.run(
                spec, dict(part.call.arguments), call_id=part.id, answer=answer, reads=context.reads
            )
            answered(result)
        asked = AskedCall(call=part.call, question=result.question) if result.question is not None else None
        outcome = _outcome(part, result, self._cut(result.content, tokens))
        return _Ran(outcome, asked, is_ours=self._consent.trusts(spec))

    async def _withheld(
        self, part: PendingCall, spec: ToolSpec | None, state: AgentState, context: TurnContext
    ) -> CallResult | None:
        """What the policy is told instead of a result, where the call may not run; None: it may, and its approval is
        used up."""
        if spec is None:
            return _not_called(
                CallStatus.UNKNOWN_TOOL, f"not run: {part.call.name} was removed or changed while this waited"
            )
        if all(ask["call_id"] != part.id for ask in state["asks"]):
            return None
        answer = state["consents"][part.id]
        if answer["state"] == ApprovalState.DECLINED:
            return _not_called(
                CallStatus.DECLINED, "not run: the user declined this call; do not make it again unless they ask for it"
            )
        if answer["state"] != ApprovalState.APPROVED:
            return _not_called(*_NOT_GRANTED[Use.EXPIRED])
        digest = call_digest(context.thread_id, part, spec)
        use = await asyncio.to_thread(self._ledger.use, answer["approval"], thread_id=context.thread_id, digest=digest)
        # A call that was begun is on record where each is made once: what came of it is told, and it has no second effect.
        is_on_record = spec.side_effect is not SideEffect.READ and self._executor.makes_each_call_once
        if use is Use.GRANTED or (use is Use.SPENT and is_on_record):
            return None
        return _not_called(*_NOT_GRANTED[use])

    def _cut(self, content: str, tokens: int) -> str:
        """`content`, or its beginning and a note, so that one large result does not fill the policy's context."""
        beginning = content[: tokens * LONGEST_TOKEN]
        ids = self._renderer.tokenizer.encode(beginning, add_special_tokens=False)
        if len(ids) <= tokens and beginning == content:
            return content
        kept = self._renderer.decode(ids[:tokens]).rstrip("\ufffd")
        return f"{kept} [cut: {len(kept)} of {len(content)} characters shown]"


def _is_late(context: TurnContext) -> bool:
    return asyncio.get_running_loop().time() >= context.deadline


def _pending(span_id: str, decision: Execute, *, run: int) -> tuple[PendingCall, ...]:
    """Calls with ids that stay the same when a node is run again, so that a tool may tell a repetition.

    Args: run: in which the decision was made.
    """
    trace, _, index = span_id.rpartition(".")
    begins = call_prefix(trace) if run == 1 else f"{call_prefix(trace)}r{run}_"
    return tuple(PendingCall(id=f"{begins}{index}_{n}", call=call) for n, call in enumerate(decision.calls))


def _outcome(part: PendingCall, result: CallResult, shown: str) -> ToolOutcome:
    return ToolOutcome(
        call_id=part.id, call=part.call, status=result.status, content=shown, latency_ms=result.latency_ms
    )


def _not_called(status: CallStatus, message: str) -> CallResult:
    return CallResult(status, error_text(status, message), latency_ms=0.0)


def _results(pending: Sequence[PendingCall], ran: Sequence[_Ran]) -> list[Message]:
    """One message for each call; those after one that asks were not run. Only the first question is put."""
    messages: list[Message] = []
    is_put = False
    for part in ran:
        told = part.outcome.call_id, part.outcome.call.name, part.outcome.content
        if part.asked is not None and not is_put:
            messages.append(asking_message(*told, part.asked))
            is_put = True
        else:
            messages.append(tool_message(*told, trusted=part.is_ours))
    waiting = _not_run("a call before it waits for the user's answer")
    left = pending[len(ran) :]
    return [*messages, *(tool_message(part.id, part.call.name, waiting, trusted=True) for part in left)]


def _not_run(because: str) -> str:
    return json.dumps({"error": "not_run", "message": f"not run, because {because}"})


def _with_last(spans: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [*spans[:-1], {**spans[-1], **changes}]


def _end(state: AgentState, reply: Any) -> dict[str, Any]:
    return {"reply": reply.model_dump(mode="json"), "messages": [*state["messages"], reply_message(reply)]}
