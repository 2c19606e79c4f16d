"""One turn from request to reply: hold the thread, fix the adapter, run the graph, record the trace.

`Turns` is what routes and other callers see; they know nothing of the graph. A turn runs as a task of its own, so a
client that hangs up does not stop half-way what it began.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from runtime.agent.graph import AgentGraph, most_node_runs
from runtime.agent.messages import Message, Reply
from runtime.agent.state import AgentState, Limits, TurnContext
from runtime.agent.threads import OpenThread, Threads
from runtime.database import utc_now
from runtime.errors import BadRequest, PolicyUnavailable, StoreError, UnknownAdapter
from runtime.policy.base import Policy, SamplingParams
from runtime.prompt import recent_words
from runtime.traces.schema import Span, Trace, TraceStatus
from tools.retrieval import Retriever
from tools.spec import ToolSpec

log = structlog.get_logger(__name__)

LIVE = "hone"
"""The model name that follows the deployment pointer; `hone@base` and `hone@<adapter>` stay where they are."""
BASE = f"{LIVE}@base"


class Served(Protocol):
    """What serves: an adapter, or the base when both are None."""

    @property
    def name(self) -> str | None: ...

    @property
    def sha256(self) -> str | None: ...


class Pointer(Protocol):
    """Says what serves new turns now, and keeps it resident as long as a turn needs it."""

    def lease(self) -> AbstractContextManager[Served]: ...


class TraceRecorder(Protocol):
    def record(self, trace: Trace) -> None: ...


class Toolbox(Protocol):
    """The registered tools."""

    def list(self) -> Sequence[ToolSpec]: ...


@dataclass(frozen=True, slots=True)
class TurnRequest:
    messages: tuple[Message, ...]
    """OpenAI's shape, arguments of tool calls as objects, content as text; the last one is the user's or a tool's."""
    params: SamplingParams
    model: str = LIVE
    thread: str | None = None
    """Id of the thread; None: recognised by the conversation."""
    client_tools: tuple[ToolSpec, ...] | None = None
    """The client's own tools, shown instead of the registered ones; None: the registered ones."""
    show_tools: bool = True
    only_tools: tuple[str, ...] | None = None
    """Names of the registered tools to show; None: those that the conversation is about."""


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class TurnResult:
    trace: Trace
    reply: Reply
    dropped: int
    """Oldest messages of the thread that did not fit the policy's context."""

    @property
    def usage(self) -> Usage:
        """Summed over all calls of the policy."""
        spans = self.trace.spans
        return Usage(sum(len(s.prompt_token_ids) for s in spans), sum(len(s.completion_token_ids) for s in spans))


class RunningTurn:
    """A turn under way. Iterating gives each span when it is decided and again when its calls are done."""

    def __init__(self, trace_id: str, thread_id: str, adapter: str | None) -> None:
        self.trace_id = trace_id
        self.thread_id = thread_id
        self.adapter = adapter
        self._news: asyncio.Queue[Span | None] = asyncio.Queue()
        self._done: asyncio.Future[TurnResult] = asyncio.get_running_loop().create_future()
        # a turn whose client is gone has nobody to retrieve its failure; the trace has it
        self._done.add_done_callback(lambda done: done.exception() if not done.cancelled() else None)

    def __aiter__(self) -> AsyncIterator[Span]:
        return self._spans()

    async def _spans(self) -> AsyncIterator[Span]:
        while (span := await self._news.get()) is not None:
            yield span

    async def result(self) -> TurnResult:
        """Waits for the end. Raises: what the turn failed with."""
        return await asyncio.shield(self._done)

    def tell(self, span: Span) -> None:
        self._news.put_nowait(span)

    def finish(self, outcome: TurnResult | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._done.set_exception(outcome)
        else:
            self._done.set_result(outcome)
        self._news.put_nowait(None)


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that is fixed when a turn begins."""

    trace_id: str
    created_at: datetime
    served: Served
    offered: Sequence[ToolSpec]
    """Tools that may be shown."""
    most_shown: int
    """How many of them at most; 0: all."""
    params: SamplingParams


class Turns:
    """Runs turns."""

    def __init__(
        self,
        *,
        policy: Policy,
        graph: AgentGraph,
        threads: Threads,
        toolbox: Toolbox,
        retriever: Retriever,
        recorder: TraceRecorder,
        pointer: Pointer,
        digests: Callable[[str], str | None],
        limits: Limits,
        base_name: str,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Args:
            threads: the only one in the process; it keeps two turns out of one thread.
            digests: gives the sha256 of a published adapter, None when it was not published here.
            base_name: what traces call the base model.
        """
        self._policy = policy
        self._graph = graph
        self._threads = threads
        self._toolbox = toolbox
        self._retriever = retriever
        self._recorder = recorder
        self._pointer = pointer
        self._digests = digests
        self._limits = limits
        self._base_name = base_name
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, request: TurnRequest) -> TurnResult:
        """A whole turn."""
        return await (await self.stream(request)).result()

    async def stream(self, request: TurnRequest) -> RunningTurn:
        """Begins a turn and returns while it runs.

        Raises:
            UnknownAdapter: no such model.
            BadRequest: nothing to reply to.
        """
        if not request.messages or request.messages[-1]["role"] not in ("user", "tool"):
            raise BadRequest("the last message must be the user's or a tool's", param="messages")
        pinned = await self._pinned(request.model)
        offered = await self._offered_tools(request)
        thread = await self._threads.open(request.messages, request.thread)
        # Nothing awaits from here on: the lease, and with it the thread, is the task's to give back.
        held = ExitStack()
        served = pinned or held.enter_context(self._pointer.lease())
        is_choice = request.client_tools is not None or request.only_tools is not None
        most_shown = 0 if is_choice else self._limits.shown_tools
        plan = _Plan(f"trace_{uuid.uuid4().hex}", self._now(), served, offered, most_shown, request.params)
        turn = RunningTurn(plan.trace_id, thread.thread_id, served.name)
        task = asyncio.create_task(self._drive(turn, plan, thread, held), name=plan.trace_id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return turn

    async def models(self) -> list[str]:
        """Names that a request may give as its model."""
        return [LIVE, BASE, *(f"{LIVE}@{name}" for name in sorted(await self._policy.adapters()))]

    async def close(self, *, grace_s: float = 10.0) -> None:
        """Waits for the turns under way; those that take longer are stopped and recorded as failed."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _pinned(self, model: str) -> Served | None:
        """What a model name stands for; None: whatever the deployment points at."""
        if model == LIVE:
            return None
        if model == BASE:
            return _Pinned(None, None)
        name = model.removeprefix(f"{LIVE}@")
        if name != model and name in await self._policy.adapters():
            return _Pinned(name, await asyncio.to_thread(self._digests, name))
        raise UnknownAdapter(f"no model named {model!r}; there are: {', '.join(await self.models())}")

    async def _offered_tools(self, request: TurnRequest) -> Sequence[ToolSpec]:
        if not request.show_tools:
            return ()
        if request.client_tools is not None:
            return request.client_tools
        return _chosen(await asyncio.to_thread(self._toolbox.list), request.only_tools)

    def _shown_tools(self, plan: _Plan, messages: Sequence[Message]) -> dict[str, ToolSpec]:
        """The tools that the conversation is about, the likeliest first."""
        shown = self._retriever.shortlist(
            plan.offered, recent_words(messages), limit=plan.most_shown, keep=_last_called(messages)
        )
        return {spec.name: spec for spec in shown}

    async def _drive(self, turn: RunningTurn, plan: _Plan, thread: OpenThread, held: ExitStack) -> None:
        """The task of one turn: whatever happens, it is recorded, the thread is let go, and whoever waits is told."""
        spans: list[Span] = []
        reply: Reply | None = None
        length = 0
        outcome: TurnResult | BaseException
        try:
            final = await self._follow(turn, plan, thread, spans)
            reply, length = Reply.model_validate(final["reply"]), len(final["messages"])
            trace = _trace(plan, thread.thread_id, self._base_name, spans)
            outcome = TurnResult(trace, reply, final["dropped"])
        except BaseException as e:  # whatever broke, a turn without a record would be worse
            stopping = isinstance(e, asyncio.CancelledError)
            outcome = PolicyUnavailable("the server is stopping: send the request again") if stopping else e
            trace = _trace(plan, thread.thread_id, self._base_name, spans, outcome)
        _log_turn(trace, reply)
        held.close()
        try:
            await self._record(trace)
            await self._release(thread, reply, length)
        finally:
            turn.finish(outcome)

    async def _follow(self, turn: RunningTurn, plan: _Plan, thread: OpenThread, spans: list[Span]) -> Mapping[str, Any]:
        """Runs the graph to its end, keeps `spans` up to date, and tells the news as it happens."""
        state: Mapping[str, Any] = {}
        specs = await asyncio.to_thread(self._shown_tools, plan, thread.messages)
        async for state in self._states(plan, specs, thread):
            fresh = [Span.model_validate(span) for span in state["spans"]]
            for span in fresh[max(0, len(spans) - 1) :]:
                if span not in spans:
                    turn.tell(span)
            spans[:] = fresh
        return state

    async def _states(
        self, plan: _Plan, specs: Mapping[str, ToolSpec], thread: OpenThread
    ) -> AsyncIterator[Mapping[str, Any]]:
        """The state after each node."""
        begin: AgentState = {
            "system": thread.system,
            "messages": thread.messages,
            "tools": [_checkpointable(spec.openai()) for spec in specs.values()],
            "trace_id": plan.trace_id,
            "spans": [],
            "repair": [],
            "repairs": 0,
            "cut": False,
            "dropped": 0,
            "reply": None,
        }
        async for state in self._graph.astream(
            begin,
            {"configurable": {"thread_id": thread.thread_id}, "recursion_limit": most_node_runs(self._limits)},
            context=TurnContext(adapter=plan.served.name, params=plan.params, specs=specs),
            stream_mode="values",
            durability="exit",  # the turn is the unit: half of one is never read again
        ):
            assert isinstance(state, dict)
            yield state

    async def _record(self, trace: Trace) -> None:
        try:
            await asyncio.to_thread(self._recorder.record, trace)
        except Exception as e:  # the user's answer does not hang on a database that is full, locked or wrong
            log.error("trace not recorded", trace=trace.id, error=str(e))

    async def _release(self, thread: OpenThread, reply: Reply | None, length: int) -> None:
        try:
            await self._threads.close(thread, reply=reply, length=length)
        except StoreError as e:
            log.error("thread not advanced", thread=thread.thread_id, error=str(e))


def _chosen(registered: Sequence[ToolSpec], names: tuple[str, ...] | None) -> Sequence[ToolSpec]:
    """Raises: BadRequest: a name that is not registered."""
    if names is None:
        return registered
    known = {spec.name: spec for spec in registered}
    for name in names:
        if name not in known:
            raise BadRequest(
                f"metadata.tools: no tool named {name!r}; GET /v1/tools lists them", param="metadata.tools"
            )
    return [known[name] for name in names]


def _last_called(messages: Sequence[Message]) -> set[str]:
    """Tools of the latest calls: a correction is about them, whatever its words."""
    calling = next((m for m in reversed(messages) if m.get("tool_calls")), None)
    return {call["function"]["name"] for call in calling["tool_calls"]} if calling else set()


def _trace(
    plan: _Plan, thread_id: str, model: str, spans: Sequence[Span], failure: BaseException | None = None
) -> Trace:
    return Trace(
        id=plan.trace_id,
        thread_id=thread_id,
        created_at=plan.created_at,
        model=model,
        adapter=plan.served.name,
        adapter_sha256=plan.served.sha256,
        status=TraceStatus.FINISHED if failure is None else TraceStatus.FAILED,
        spans=tuple(spans),
        error=None if failure is None else f"{type(failure).__name__}: {failure}",
    )


def _checkpointable(schema: dict[str, Any]) -> dict[str, Any]:
    """LangGraph keeps integers of 64 bits; a bound beyond that becomes a float."""
    return json.loads(json.dumps(schema), parse_int=lambda digits: n if abs(n := int(digits)) < 2**63 else float(n))


def _log_turn(trace: Trace, reply: Reply | None) -> None:
    about = {"trace": trace.id, "thread": trace.thread_id, "policy": trace.adapter or BASE}
    if reply is None:
        log.warning("turn failed", error=trace.error, **about)
    else:
        log.info("turn", decision=reply.decision.value, **about)


@dataclass(frozen=True, slots=True)
class _Pinned:
    name: str | None
    sha256: str | None


def remembered_in(graph: AgentGraph) -> Any:
    """What `Threads` asks of the graph: a thread's system text and messages as the last turn left them."""

    async def remembered(thread_id: str) -> tuple[str | None, list[Message]]:
        snapshot = await graph.aget_state({"configurable": {"thread_id": thread_id}})
        return snapshot.values.get("system"), list(snapshot.values.get("messages", ()))

    return remembered
