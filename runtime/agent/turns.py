"""One turn from request to reply: hold the thread, fix the adapter, run the graph, record the trace.

`Turns` is what routes and other callers see; they know nothing of the graph. A turn runs as a task of its own, so a
client that hangs up does not stop half-way what it began.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from runtime.agent.consent import question, waiting_reply, word_of
from runtime.agent.graph import AgentGraph, most_node_runs
from runtime.agent.messages import Message, Reply
from runtime.agent.observer import Observer, TurnBegun, TurnEnded
from runtime.agent.state import AgentState, Begun, Limits, TurnContext
from runtime.agent.threads import OpenThread, PastTurn, Threads
from runtime.approvals.schema import Approval, ApprovalState, Ask
from runtime.approvals.store import ApprovalStore
from runtime.database import utc_now
from runtime.decision import Execute
from runtime.errors import ApprovalSpent, BadRequest, PolicyUnavailable, Stopping, StoreError, UnknownAdapter, told
from runtime.policy.base import Policy, SamplingParams
from runtime.policy.manifest import adapter_version
from runtime.prompt import called_tools, recent_words
from runtime.traces.schema import Span, Trace, TraceStatus
from tools.retrieval import Retriever
from tools.spec import ToolSpec

log = structlog.get_logger(__name__)

LIVE = "hone"
"""The model name that follows the deployment pointer; `hone@base`, `hone@v12` and `hone@<adapter>` stay where they are."""
INCUMBENT = f"{LIVE}@incumbent"
"""The adapter that serves everyone, whatever else is on trial."""
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
    after: PastTurn | None = None
    """The turn to go on from, whatever the thread's name; all messages are new then."""
    instructions: str | None = None
    """As in `AgentState`."""
    echo: str | None = None
    """As in `AgentState`."""
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
        self.may_have_acted = False
        """Whether a call may have been made, so that the same request sent again might make it twice."""
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
        self.may_have_acted |= isinstance(span.decision, Execute) and not span.violations
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
    answered: Approval | None = None
    """What it waited for, where it goes on."""


@dataclass(frozen=True, slots=True)
class _Course:
    """One run of the graph: a turn from its beginning, or from where it waited."""

    input: AgentState | Command[Any]
    context: TurnContext
    config: RunnableConfig


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
        approvals: ApprovalStore,
        digests: Callable[[str], str | None],
        limits: Limits,
        base_name: str,
        observer: Observer = Observer(),  # noqa: B008 (keeps nothing)
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Args:
            threads: the only one in the process; it keeps two turns out of one thread.
            digests: gives the sha256 of a published adapter, None when it was not published here.
            base_name: what traces call the base model.
            observer: watches each turn and its recording.
        """
        self._policy = policy
        self._graph = graph
        self._threads = threads
        self._toolbox = toolbox
        self._retriever = retriever
        self._recorder = recorder
        self._pointer = pointer
        self._approvals = approvals
        self._digests = digests
        self._limits = limits
        self._base_name = base_name
        self._observer = observer
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def run(self, request: TurnRequest) -> TurnResult:
        """A whole turn."""
        return await (await self.stream(request)).result()

    async def stream(self, request: TurnRequest) -> RunningTurn:
        """Begins a turn and returns while it runs; a word that answers a question lets the turn that asked it go on.

        Raises:
            Stopping: no new turns are taken.
            UnknownAdapter: no such model.
            BadRequest: nothing to reply to.
        """
        self.check_takes_turns()
        if not request.messages or request.messages[-1]["role"] not in ("user", "tool"):
            raise BadRequest("the last message must be the user's or a tool's", param="messages")
        pinned = await self.pinned(request.model)
        offered = await self._offered_tools(request)
        thread = await self._open(request)
        try:
            asked = await self._asked_last(thread)
            word = word_of(thread.new)
            if asked is not None and word is not None:
                given = await asyncio.to_thread(
                    self._approvals.decide, asked.id, word, via="chat", thread_id=thread.thread_id
                )
                return await self.go_on(thread, given)
        except BaseException:
            await self._threads.close(thread, reply=None, length=0)
            raise
        if asked is not None:
            # the policy has to know what the user is talking about; the question itself stays open
            unanswered = {"role": "assistant", "content": question(asked)}
            thread = replace(thread, messages=[*thread.known, unanswered, *thread.new])
        try:
            self.check_takes_turns()  # the wait for the thread may have been long
        except Stopping:
            await self._threads.close(thread, reply=None, length=0)
            raise
        # Nothing awaits from here on: the lease, and with it the thread, is the task's to give back.
        held = ExitStack()
        served = pinned or held.enter_context(self._pointer.lease())
        plan = _Plan(f"trace_{uuid.uuid4().hex}", self._now(), served)
        return self._start(plan, thread, held, lambda: self._beginning(plan, thread, request, offered))

    async def go_on(self, thread: OpenThread, answered: Approval) -> RunningTurn:
        """Lets the turn that waited for an answer go on, from its thread checkpoint and on what the thread is by now.

        The thread is closed when the turn ends; the caller closes it when this raises.

        Raises:
            Stopping: no turns are begun; the answer is on record, and the turn goes on at the next start.
            ApprovalSpent: no turn waits for the answer any more.
        """
        self.check_takes_turns()
        at: RunnableConfig = {
            "configurable": {
                "thread_id": thread.thread_id,
                "checkpoint_ns": "",
                "checkpoint_id": answered.checkpoint_id,
            }
        }
        waiting = await self._graph.aget_state(at)
        if not waiting.interrupts:
            await asyncio.to_thread(self._approvals.settle, answered.id)
            raise ApprovalSpent(f"no turn waits for approval {answered.id!r} any more; ask for the call again")
        begun = Begun.model_validate(waiting.values["begun"])
        registered = await asyncio.to_thread(self._toolbox.list)
        specs = {spec.name: spec for spec in registered if begun.tools.get(spec.name) == spec.sha256}
        resident = await self._policy.adapters()
        self.check_takes_turns()
        # Nothing awaits from here on, as above.
        held = ExitStack()
        served: Served = held.enter_context(self._pointer.lease())
        if (served.name, served.sha256) != (begun.adapter, begun.adapter_sha256):
            served = _Pinned(begun.adapter, begun.adapter_sha256)
        context = TurnContext(
            thread_id=thread.thread_id,
            adapter=begun.adapter,
            params=begun.params,
            specs=specs,
            deadline=self._deadline(),
            can_decide=begun.adapter is None or begun.adapter in resident,
        )
        # a thread that went back to before the question has lost what led to it
        known = thread.known if thread.begin >= answered.length else waiting.values["messages"]
        shown = [tool for tool in waiting.values["tools"] if tool["function"]["name"] in specs]
        resume = Command(
            resume={"approval": answered.id, "state": answered.state.value}, update={"messages": known, "tools": shown}
        )

        async def course() -> _Course:
            return _Course(resume, context, at)

        plan = _Plan(answered.trace_id, begun.created_at, served, answered)
        return self._start(plan, thread, held, course)

    async def models(self) -> list[str]:
        """Names that a request may give as its model."""
        return [LIVE, INCUMBENT, BASE, *sorted(f"{LIVE}@{_short(name)}" for name in await self._policy.adapters())]

    async def past(self, trace: Trace) -> PastTurn | None:
        """A turn and its thread as the turn left it; None: nothing is left of it, as when it failed."""
        thread: RunnableConfig = {"configurable": {"thread_id": trace.thread_id}}
        async for snapshot in self._graph.aget_state_history(thread):
            values = snapshot.values
            if values.get("trace_id") == trace.id and (values["reply"] is not None or snapshot.interrupts):
                reply = values["reply"]
                return PastTurn(
                    thread_id=trace.thread_id,
                    system=values["system"],
                    messages=values["messages"],
                    reply=None if reply is None else Reply.model_validate(reply),
                    echo=values.get("echo"),
                    dropped=values["dropped"],
                )
        return None

    @property
    def is_stopping(self) -> bool:
        """Whether new turns are refused."""
        return self._stopping

    @property
    def running(self) -> int:
        """Turns under way."""
        return len(self._tasks)

    def stop_taking(self) -> None:
        """From now on new turns are refused; those under way go on. May be called from a signal handler."""
        self._stopping = True

    async def close(self, *, grace_s: float = 10.0) -> None:
        """Refuses new turns and waits for those under way; those that take longer are stopped and recorded as failed."""
        self.stop_taking()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def check_takes_turns(self) -> None:
        """Raises: Stopping."""
        if self._stopping:
            raise Stopping("the server is stopping and takes no new turns: send the request again, to another server")

    def _start(
        self, plan: _Plan, thread: OpenThread, held: ExitStack, course: Callable[[], Awaitable[_Course]]
    ) -> RunningTurn:
        turn = RunningTurn(plan.trace_id, thread.thread_id, plan.served.name)
        turn.may_have_acted = plan.answered is not None
        task = asyncio.create_task(self._drive(turn, plan, thread, held, course), name=plan.trace_id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return turn

    async def _open(self, request: TurnRequest) -> OpenThread:
        if request.after is not None:
            return await self._threads.follow(request.after, request.messages)
        return await self._threads.open(request.messages, request.thread)

    async def _asked_last(self, thread: OpenThread) -> Approval | None:
        """The open question that was the thread's last word, if it was one."""
        if not thread.begin:
            return None
        waiting = await asyncio.to_thread(
            self._approvals.list, state=ApprovalState.PENDING, thread_id=thread.thread_id, limit=1
        )
        return next((approval for approval in waiting if approval.length == thread.begin), None)

    async def pinned(self, model: str) -> Served | None:
        """What a model name stands for; None: whatever the deployment points at when the turn begins.

        Raises: UnknownAdapter: no such model.
        """
        if model in (LIVE, INCUMBENT):
            return None
        if model == BASE:
            return _Pinned(None, None)
        wanted = model.removeprefix(f"{LIVE}@")
        for name in await self._policy.adapters() if wanted != model else ():
            if wanted in (name, _short(name)):
                return _Pinned(name, await asyncio.to_thread(self._digests, name))
        raise UnknownAdapter(f"no model named {model!r}; there are: {', '.join(await self.models())}")

    async def _offered_tools(self, request: TurnRequest) -> Sequence[ToolSpec]:
        if not request.show_tools:
            return ()
        if request.client_tools is not None:
            return request.client_tools
        return _chosen(await asyncio.to_thread(self._toolbox.list), request.only_tools)

    def _shown_tools(
        self, request: TurnRequest, offered: Sequence[ToolSpec], messages: Sequence[Message]
    ) -> dict[str, ToolSpec]:
        """The tools that the conversation is about, the likeliest first; all of them where the client chose."""
        is_choice = request.client_tools is not None or request.only_tools is not None
        limit = 0 if is_choice else self._limits.shown_tools
        shown = self._retriever.shortlist(offered, recent_words(messages), limit=limit, keep=called_tools(messages))
        return {spec.name: spec for spec in shown}

    async def _beginning(
        self, plan: _Plan, thread: OpenThread, request: TurnRequest, offered: Sequence[ToolSpec]
    ) -> _Course:
        specs = await asyncio.to_thread(self._shown_tools, request, offered, thread.messages)
        begun = Begun(
            created_at=plan.created_at,
            adapter=plan.served.name,
            adapter_sha256=plan.served.sha256,
            params=request.params,
            tools={spec.name: spec.sha256 for spec in specs.values()},
        )
        state: AgentState = {
            "system": thread.system,
            "instructions": request.instructions,
            "messages": thread.messages,
            "tools": [_checkpointable(spec.openai()) for spec in specs.values()],
            "trace_id": plan.trace_id,
            "echo": request.echo,
            "begun": begun.model_dump(mode="json"),
            "spans": [],
            "repair": [],
            "repairs": 0,
            "cut": False,
            "dropped": 0,
            "asks": [],
            "consents": {},
            "reply": None,
        }
        context = TurnContext(thread.thread_id, plan.served.name, request.params, specs, self._deadline())
        return _Course(state, context, {"configurable": {"thread_id": thread.thread_id}})

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.seconds

    async def _drive(
        self,
        turn: RunningTurn,
        plan: _Plan,
        thread: OpenThread,
        held: ExitStack,
        course: Callable[[], Awaitable[_Course]],
    ) -> None:
        """The task of one turn, watched."""
        begun = TurnBegun(
            trace_id=plan.trace_id,
            thread_id=thread.thread_id,
            model=self._base_name,
            adapter=plan.served.name,
            adapter_sha256=plan.served.sha256,
            resumed=plan.answered is not None,
        )
        with self._observer.turn(begun) as ended:
            await self._run_to_its_end(turn, plan, thread, held, course, ended)

    async def _run_to_its_end(
        self,
        turn: RunningTurn,
        plan: _Plan,
        thread: OpenThread,
        held: ExitStack,
        course: Callable[[], Awaitable[_Course]],
        ended: TurnEnded,
    ) -> None:
        """Whatever happens, it is recorded, the thread is let go, and whoever waits is told."""
        spans: list[Span] = []
        reply: Reply | None = None
        length = 0
        stopping = False
        outcome: TurnResult | BaseException
        try:
            final = await self._follow(turn, await course(), spans)
            length = len(final["messages"])
            reply = await self._reply(final, plan, thread.thread_id)
            trace = self._trace(plan, thread.thread_id, spans, TraceStatus.WAITING if reply.approval else None)
            outcome = TurnResult(trace, reply, final["dropped"])
        except BaseException as e:  # whatever broke, a turn without a record would be worse
            stopping = isinstance(e, asyncio.CancelledError)
            outcome = PolicyUnavailable("the server is stopping: send the request again") if stopping else e
            trace = self._trace(plan, thread.thread_id, spans, failure=outcome)
            _log_failure(trace, outcome)
        else:
            _log_turn(trace, reply)
        held.close()
        # one that had its answer goes on at the next start: until then it stays on record as waiting
        goes_on = stopping and plan.answered is not None
        try:
            if not goes_on:
                await self._record(trace)
                await self._settle(plan.answered)  # while the thread is held, or it would go on twice
            await self._release(thread, reply, length)
        finally:
            ended(trace, reply)
            turn.finish(outcome)

    async def _reply(self, final: Mapping[str, Any], plan: _Plan, thread_id: str) -> Reply:
        """How the turn ended, or the question that it waits for, put on record first."""
        if final["reply"] is not None:
            return Reply.model_validate(final["reply"])
        (asked,) = final["__interrupt__"]
        snapshot = await self._graph.aget_state({"configurable": {"thread_id": thread_id}})
        approval = await asyncio.to_thread(
            self._approvals.ask,
            Ask.model_validate(asked.value),
            thread_id=thread_id,
            trace_id=plan.trace_id,
            checkpoint_id=(snapshot.config.get("configurable") or {})["checkpoint_id"],
            length=len(final["messages"]),
        )
        return waiting_reply(approval)

    async def _follow(self, turn: RunningTurn, course: _Course, spans: list[Span]) -> Mapping[str, Any]:
        """Runs the graph until it ends or waits, keeps `spans` up to date, and tells the news as it happens."""
        state: Mapping[str, Any] = {}
        async for state in self._states(course):
            fresh = [Span.model_validate(span) for span in state["spans"]]
            for span in fresh[max(0, len(spans) - 1) :]:
                if span not in spans:
                    turn.tell(span)
            spans[:] = fresh
        return state

    async def _states(self, course: _Course) -> AsyncIterator[Mapping[str, Any]]:
        """The state after each node."""
        async for state in self._graph.astream(
            course.input,
            {**course.config, "recursion_limit": most_node_runs(self._limits)},
            context=course.context,
            stream_mode="values",
            durability="exit",  # the turn is the unit, up to where it waits: less than that is never read again
        ):
            assert isinstance(state, dict)
            yield state

    async def _record(self, trace: Trace) -> None:
        try:
            with self._observer.recording():
                await asyncio.to_thread(self._recorder.record, trace)
        except Exception as e:  # the user's answer does not hang on a database that is full, locked or wrong
            log.error("trace not recorded", trace=trace.id, error=told(e))

    async def _settle(self, answered: Approval | None) -> None:
        try:
            if answered is not None:
                await asyncio.to_thread(self._approvals.settle, answered.id)
        except StoreError as e:
            log.error("approval not settled", error=told(e))

    def _trace(
        self,
        plan: _Plan,
        thread_id: str,
        spans: Sequence[Span],
        status: TraceStatus | None = None,
        *,
        failure: BaseException | None = None,
    ) -> Trace:
        ended = TraceStatus.FINISHED if failure is None else TraceStatus.FAILED
        return Trace(
            id=plan.trace_id,
            thread_id=thread_id,
            created_at=plan.created_at,
            model=self._base_name,
            adapter=plan.served.name,
            adapter_sha256=plan.served.sha256,
            status=status or ended,
            spans=tuple(spans),
            error=None if failure is None else f"{type(failure).__name__}: {failure}",
            resumed_at=self._now() if plan.answered is not None else None,
        )

    async def _release(self, thread: OpenThread, reply: Reply | None, length: int) -> None:
        try:
            await self._threads.close(thread, reply=reply, length=length)
        except StoreError as e:
            log.error("thread not advanced", thread=thread.thread_id, error=told(e))


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


def _checkpointable(schema: dict[str, Any]) -> dict[str, Any]:
    """LangGraph keeps integers of 64 bits; a bound beyond that becomes a float."""
    return json.loads(json.dumps(schema), parse_int=lambda digits: n if abs(n := int(digits)) < 2**63 else float(n))


def _short(adapter: str) -> str:
    """`v12` for an adapter that was published here as version 12."""
    version = adapter_version(adapter)
    return adapter if version is None else f"v{version}"


def _log_turn(trace: Trace, reply: Reply) -> None:
    log.info("turn", decision=reply.decision.value, status=trace.status.value, **_named(trace))


def _log_failure(trace: Trace, failure: BaseException) -> None:
    log.warning("turn failed", error=told(failure), **_named(trace))


def _named(trace: Trace) -> dict[str, str]:
    return {"trace": trace.id, "thread": trace.thread_id, "policy": trace.adapter or BASE}


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
