"""One turn from request to reply: hold the thread, write the row, fix the adapter, run the graph, record the trace.

`Turns` is what routes and other callers see; they know nothing of the graph. A turn runs as a task of its own, so a
client that hangs up does not stop half-way what it began. Its row (`runtime.agent.admission`) is there before it does anything,
so a server that dies does not lose it: whoever takes the row over takes the turn up where its last thread checkpoint left it,
or begins it anew where it has none and so has changed nothing yet.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import structlog
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, StateSnapshot
from pydantic import TypeAdapter

from runtime.agent.admission import Admission, Admissions, Ending, Mark, Refused, State
from runtime.agent.consent import question, waiting_reply, word_of
from runtime.agent.endings import Endings, Progress, TraceRecorder, TurnEnd
from runtime.agent.graph import AgentGraph, most_node_runs
from runtime.agent.history import checkpoint_at, checkpoint_id, past_turn
from runtime.agent.messages import Reply
from runtime.agent.observer import Observer, TurnBegun, TurnEnded
from runtime.agent.repetitions import LOOK_AGAIN_S, Repetitions
from runtime.agent.running import RunningTurn, TurnResult
from runtime.agent.shown_tools import ShownTools
from runtime.agent.state import AgentState, Begun, Limits, TurnContext
from runtime.agent.thread_checkpoints import ThreadCheckpoints
from runtime.agent.threads import OpenThread, PastTurn, Threads
from runtime.agent.turn_request import BASE, INCUMBENT, LIVE, TurnRequest, WhenBusy
from runtime.approvals.schema import Approval, ApprovalState, Ask
from runtime.approvals.store import ApprovalStore
from runtime.database import utc_now
from runtime.errors import (
    ApprovalSpent,
    BadRequest,
    Interrupted,
    PolicyUnavailable,
    Stopping,
    StoreError,
    ThreadBusy,
    TurnCutOff,
    TurnTaken,
    UnknownAdapter,
    told,
)
from runtime.policy.base import Policy
from runtime.policy.manifest import adapter_version
from runtime.presence import SharedPresence
from runtime.traces.schema import Span, Trace, TraceStatus
from tools.outcome import storable
from tools.spec import ToolSpec

log = structlog.get_logger(__name__)

MOST_RUNS = 5
"""A turn that so many servers ended in is not begun once more: it may be what ends them."""


class Served(Protocol):
    """What serves: an adapter, or the base when both are None."""

    @property
    def name(self) -> str | None: ...

    @property
    def sha256(self) -> str | None: ...


class Pointer(Protocol):
    """Says what serves new turns now, and keeps it resident as long as a turn needs it."""

    def lease(self) -> AbstractContextManager[Served]: ...


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that is fixed when a turn begins."""

    admission: Admission
    created_at: datetime
    served: Served
    answered: Approval | None = None
    """What it waited for, where it goes on."""

    @property
    def trace_id(self) -> str:
        return self.admission.trace_id


@dataclass(frozen=True, slots=True)
class _Course:
    """One run of the graph: a turn from its beginning, from where it waited, or from the thread checkpoint that it came to."""

    input: AgentState | Command[Any] | None
    context: TurnContext
    config: RunnableConfig
    reached: Mapping[str, Any] | None = None
    """The state in that thread checkpoint, with its interrupts, if any, as `__interrupt__`."""


_REQUESTS = TypeAdapter(TurnRequest)


class _NotAdmitted(Exception):
    """Undoes the transaction in which a turn was to be admitted."""

    def __init__(self, refused: Refused) -> None:
        super().__init__()
        self.refused = refused


class Turns:
    """Runs turns."""

    def __init__(
        self,
        *,
        policy: Policy,
        graph: AgentGraph,
        checkpoints: ThreadCheckpoints,
        threads: Threads,
        tools: ShownTools,
        recorder: TraceRecorder,
        pointer: Pointer,
        approvals: ApprovalStore,
        admissions: Admissions,
        presence: SharedPresence,
        digests: Callable[[str], str | None],
        limits: Limits,
        base_name: str,
        when_busy: WhenBusy = WhenBusy.QUEUE,
        system_prompt: Callable[[], str | None] = lambda: None,
        observer: Observer = Observer(),  # noqa: B008 (keeps nothing)
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Args:
            checkpoints: that the graph was made with.
            threads: the only one in the process; it keeps two turns out of one thread.
            admissions: of this process, whose name is that of `presence`.
            digests: gives the sha256 of a published adapter, None when it was not published here.
            base_name: what traces call the base model.
            when_busy: unless the request says otherwise.
            system_prompt: what the policy is told first, for the tenant of whoever acts.
            observer: watches each turn and its recording.
        """
        self._policy = policy
        self._graph = graph
        self._checkpoints = checkpoints
        self._threads = threads
        self._tools = tools
        self._endings = Endings(admissions, recorder, approvals, threads, checkpoints, observer)
        self._pointer = pointer
        self._approvals = approvals
        self._admissions = admissions
        self._presence = presence
        self._when_busy = when_busy
        self._system_prompt = system_prompt
        self._digests = digests
        self._limits = limits
        self._base_name = base_name
        self._observer = observer
        self._now = now
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, RunningTurn] = {}
        self._repetitions = Repetitions(admissions, recorder, self._running)
        self._stopping = False

    async def run(self, request: TurnRequest) -> TurnResult:
        """A whole turn."""
        return await (await self.stream(request)).result()

    async def stream(self, request: TurnRequest, mark: Mark = Mark()) -> RunningTurn:  # noqa: B008 (frozen)
        """Begins a turn and returns while it runs; a word that answers a question lets the turn that asked it go on, and a request
        that was admitted before gets its turn, wherever that runs or ran.

        Raises:
            Stopping: no new turns are taken.
            UnknownAdapter: no such model.
            BadRequest: nothing to reply to.
            ThreadBusy: a turn runs in the thread, and the request is not to wait.
            KeyReused: its idempotency key came with another body.
        """
        if mark.key is not None or mark.attempt:
            earlier = await asyncio.to_thread(self._admissions.find, mark)
            if earlier is not None:
                return await self._repetitions.attach(earlier)
        self.check_takes_turns()
        if not request.messages or request.messages[-1]["role"] not in ("user", "tool"):
            raise BadRequest("the last message must be the user's or a tool's", param="messages")
        pinned = await self.pinned(request.model)
        offered = await self._tools.offered(request)
        while True:
            await self._make_room(request)
            thread = await self._open(request)
            try:
                begun = await self._begin(request, mark, thread, pinned, offered)
            except BaseException:
                self._threads.close(thread)
                raise
            if isinstance(begun, RunningTurn):
                return begun
            self._threads.close(thread)
            if begun.earlier is not None:
                return await self._repetitions.attach(begun.earlier)
            if begun.is_busy:
                await asyncio.sleep(LOOK_AGAIN_S)

    async def go_on(self, thread: OpenThread, answered: Approval) -> RunningTurn:
        """Lets the turn that waited for an answer go on, from its thread checkpoint and on what the thread is by now.

        The thread is closed when the turn ends; the caller closes it when this raises.

        Raises:
            Stopping: no turns are begun; the answer is on record, and the turn goes on at the next start.
            ApprovalSpent: no turn waits for the answer any more.
            ThreadBusy: another process runs a turn in the thread.
        """
        return await self.decide(thread, answered, lambda: answered)

    async def decide(
        self,
        thread: OpenThread,
        asked: Approval,
        decide: Callable[[], Approval],
        mark: Mark = Mark(),  # noqa: B008 (frozen)
    ) -> RunningTurn:
        """As `go_on`, and takes the answer, all or nothing.

        Args: decide: takes the answer; run in the transaction in which the turn is admitted.

        Raises: also what `decide` does; nothing was changed then.
        """
        begun = await self._go_on(thread, asked, decide, mark)
        if isinstance(begun, RunningTurn):
            return begun
        raise ThreadBusy(f"a turn of thread {thread.thread_id!r} is running elsewhere; answer again when it has ended")

    async def take_up(self, mine: Admission) -> None:
        """Goes on with a turn whose server is gone and which this process has taken over; returns when it is over."""
        self.check_takes_turns()
        thread = await self._reopen(mine)
        try:
            begun = await self._take_up(mine, thread)
        except BaseException:
            self._threads.close(thread)
            raise
        if begun is None:
            self._threads.close(thread)
            return
        try:
            await begun.result()
        except Exception as e:  # it is on record
            log.warning("a turn that was taken up failed", trace=mine.trace_id, error=told(e))

    def stop(self, admission_id: str, reason: Exception) -> None:
        """Lets a turn of this process end before its time: at once where it has called nothing, so that it never was; else as
        soon as no call is under way, with what was done."""
        turn = self._running.get(admission_id)
        if turn is None or turn.is_over or turn.stop is not None:
            return
        turn.stop = reason
        if not turn.may_have_acted:
            self._tasks[admission_id].cancel()

    async def write_late(self) -> None:
        """As `Endings.write_late`."""
        await self._endings.write_late()

    async def models(self) -> list[str]:
        """Names that a request may give as its model."""
        return [LIVE, INCUMBENT, BASE, *sorted(f"{LIVE}@{_short(name)}" for name in await self._policy.adapters())]

    async def past(self, trace: Trace) -> PastTurn | None:
        """As `runtime.agent.history.past_turn`."""
        return await past_turn(self._graph, trace)

    @property
    def is_stopping(self) -> bool:
        """Whether new turns are refused."""
        return self._stopping

    def has(self, admission_id: str) -> bool:
        """Whether a turn runs here, or has ended here and is yet to be written."""
        return admission_id in self._running or self._endings.is_late(admission_id)

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
            _, late = await asyncio.wait(self._tasks.values(), timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._endings.write_late()
        await self._repetitions.close()

    def check_takes_turns(self) -> None:
        """Raises: Stopping."""
        if self._stopping:
            raise Stopping("the server is stopping and takes no new turns: send the request again, to another server")

    async def _make_room(self, request: TurnRequest) -> None:
        """Sees to the turn that runs in the thread that a request names. Raises: ThreadBusy."""
        rule, thread_id = request.when_busy or self._when_busy, request.named_thread
        if thread_id is None or rule is WhenBusy.QUEUE:
            return
        if not await asyncio.to_thread(self._admissions.is_running, thread_id):
            return
        if rule is WhenBusy.REJECT:
            raise ThreadBusy(
                f"a turn of thread {thread_id!r} is running: send the message when it has ended, or with "
                "metadata.when_busy=queue or interrupt"
            )
        here = [id for id, turn in self._running.items() if turn.thread_id == thread_id]
        for admission_id in here:
            self.stop(admission_id, Interrupted("the turn gave way to a newer message of its thread"))
        if not here:
            await asyncio.to_thread(self._admissions.ask_to_stop, thread_id)

    async def _begin(
        self,
        request: TurnRequest,
        mark: Mark,
        thread: OpenThread,
        pinned: Served | None,
        offered: Sequence[ToolSpec],
    ) -> RunningTurn | Refused:
        asked = await self._asked_last(thread)
        word = word_of(thread.new)
        if asked is not None and word is not None:
            take = partial(self._approvals.decide, asked.id, word, via="chat", thread_id=thread.thread_id)
            return await self._go_on(thread, asked, take, mark)
        if asked is not None:
            # the policy has to know what the user is talking about; the question itself stays open
            unanswered = {"role": "assistant", "content": question(asked)}
            thread = replace(thread, messages=[*thread.known, unanswered, *thread.new])
        self.check_takes_turns()  # the wait for the thread may have been long
        held = ExitStack()
        served = pinned or held.enter_context(self._pointer.lease())

        async def begin() -> RunningTurn | Refused:
            try:
                admitted = await asyncio.to_thread(
                    self._admissions.admit,
                    admission_id=f"adm_{uuid.uuid4().hex}",
                    trace_id=f"trace_{uuid.uuid4().hex}",
                    thread_id=thread.thread_id,
                    mark=mark,
                    plan={
                        "request": _REQUESTS.dump_python(replace(request, messages=(), after=None), mode="json"),
                        "thread": thread.kept(),
                        "adapter": served.name,
                    },
                    last_head=thread.last_head,
                )
            except BaseException:
                held.close()
                raise
            if isinstance(admitted, Refused):
                held.close()
                return admitted
            # Nothing awaits from here on: the lease, and with it the thread, is the task's to give back.
            plan = _Plan(admitted, admitted.created_at, served)
            return self._start(plan, thread, held, lambda turn: self._beginning(turn, plan, thread, request, offered))

        return await asyncio.shield(begin())  # an admitted turn runs, whoever has gone meanwhile

    async def _go_on(
        self, thread: OpenThread, asked: Approval, decide: Callable[[], Approval], mark: Mark
    ) -> RunningTurn | Refused:
        self.check_takes_turns()
        waiting = await self._graph.aget_state(checkpoint_at(thread.thread_id, asked.checkpoint_id))
        if not waiting.interrupts:
            await asyncio.to_thread(decide)
            await asyncio.to_thread(self._approvals.settle, asked.id)
            raise ApprovalSpent(f"no turn waits for approval {asked.id!r} any more; ask for the call again")
        specs, resident = await self._in_service(Begun.model_validate(waiting.values["begun"]))

        def admit() -> tuple[Approval, Admission]:
            with self._admissions.together():
                answered = decide()
                if self._approvals.get(answered.id).settled_at is not None:
                    raise ApprovalSpent(f"the turn of approval {answered.id!r} has gone on before")
                admitted = self._admissions.admit(
                    admission_id=f"adm_{uuid.uuid4().hex}",
                    trace_id=answered.trace_id,
                    thread_id=thread.thread_id,
                    mark=mark,
                    plan=None,
                    last_head=thread.last_head,
                    approval_id=answered.id,
                )
                if isinstance(admitted, Refused):
                    raise _NotAdmitted(admitted)
                return answered, admitted

        async def begin() -> RunningTurn | Refused:
            self.check_takes_turns()
            try:
                answered, admitted = await asyncio.to_thread(admit)
            except _NotAdmitted as e:
                return e.refused
            return self._resume(thread, answered, admitted, waiting, specs, resident)

        return await asyncio.shield(begin())

    async def _take_up(self, mine: Admission, thread: OpenThread) -> RunningTurn | None:
        """None: it cannot go on, and is closed."""
        asked: Approval | None = None
        try:
            if mine.approval_id is not None:
                asked = await asyncio.to_thread(self._approvals.get, mine.approval_id)
            latest = await self._graph.aget_state(checkpoint_at(mine.thread_id))
            waited_in = asked.checkpoint_id if asked is not None else None
            is_its_own = latest.values.get("trace_id") == mine.trace_id and checkpoint_id(latest) != waited_in
            if mine.runs > MOST_RUNS:
                raise TurnCutOff(f"{MOST_RUNS} servers ended while this turn ran; it is not begun again")
            if is_its_own:
                return await self._go_on_from(latest, mine, thread, asked)
            if asked is not None:
                waiting = await self._graph.aget_state(checkpoint_at(thread.thread_id, asked.checkpoint_id))
                specs, resident = await self._in_service(Begun.model_validate(waiting.values["begun"]))
                return self._resume(thread, asked, mine, waiting, specs, resident)
            return await self._begin_anew(mine, thread)
        except (Stopping, StoreError):
            raise  # another server, or another look
        except Exception as e:  # whatever keeps it from going on, it does not stay open
            await self._close_cut_off(mine, asked, thread, e)
            return None

    async def _begin_anew(self, mine: Admission, thread: OpenThread) -> RunningTurn:
        assert mine.plan is not None  # only what goes on after an answer has none
        kept = _REQUESTS.validate_python(mine.plan["request"])
        request = replace(kept, messages=tuple(thread.new))
        pinned = await self.pinned(request.model)
        offered = await self._tools.offered(request)
        self.check_takes_turns()
        held = ExitStack()
        served = pinned or held.enter_context(self._pointer.lease())
        plan = _Plan(mine, mine.created_at, served)
        return self._start(plan, thread, held, lambda turn: self._beginning(turn, plan, thread, request, offered))

    async def _go_on_from(
        self, latest: StateSnapshot, mine: Admission, thread: OpenThread, asked: Approval | None
    ) -> RunningTurn:
        """From the thread checkpoint that the turn came to: before calls, before a question, or at its end."""
        begun = Begun.model_validate(latest.values["begun"])
        specs, resident = await self._in_service(begun)
        reached = {**latest.values, **({"__interrupt__": latest.interrupts} if latest.interrupts else {})}
        self.check_takes_turns()
        held = ExitStack()
        served = self._lease_as_begun(held, begun)

        async def course(turn: RunningTurn) -> _Course:
            context = self._context(turn, mine, begun, specs, resident)
            return _Course(None, context, checkpoint_at(thread.thread_id), reached)

        return self._start(_Plan(mine, begun.created_at, served, asked), thread, held, course)

    def _resume(
        self,
        thread: OpenThread,
        answered: Approval,
        admission: Admission,
        waiting: StateSnapshot,
        specs: Mapping[str, ToolSpec],
        resident: frozenset[str],
    ) -> RunningTurn:
        """From where the turn waited for the answer. Awaits nothing: lease and thread are the task's to give back."""
        begun = Begun.model_validate(waiting.values["begun"])
        held = ExitStack()
        served = self._lease_as_begun(held, begun)
        # a thread that went back to before the question has lost what led to it
        known = thread.known if thread.begin >= answered.length else waiting.values["messages"]
        shown = [tool for tool in waiting.values["tools"] if tool["function"]["name"] in specs]
        resume = Command(
            resume={"approval": answered.id, "state": answered.state.value}, update={"messages": known, "tools": shown}
        )

        async def course(turn: RunningTurn) -> _Course:
            context = self._context(turn, admission, begun, specs, resident)
            return _Course(resume, context, checkpoint_at(thread.thread_id, answered.checkpoint_id))

        return self._start(_Plan(admission, begun.created_at, served, answered), thread, held, course)

    async def _in_service(self, begun: Begun) -> tuple[dict[str, ToolSpec], frozenset[str]]:
        """The tools that a turn began with, as far as they are what they were, and the adapters that are resident."""
        return await self._tools.unchanged(begun.tools), await self._policy.adapters()

    def _lease_as_begun(self, held: ExitStack, begun: Begun) -> Served:
        served: Served = held.enter_context(self._pointer.lease())
        if (served.name, served.sha256) != (begun.adapter, begun.adapter_sha256):
            served = _Pinned(begun.adapter, begun.adapter_sha256)
        return served

    def _context(
        self,
        turn: RunningTurn,
        admission: Admission,
        begun: Begun,
        specs: Mapping[str, ToolSpec],
        resident: frozenset[str],
    ) -> TurnContext:
        return TurnContext(
            thread_id=admission.thread_id,
            adapter=begun.adapter,
            params=begun.params,
            specs=specs,
            deadline=self._deadline(),
            run=admission.runs,
            stops=lambda: turn.stop is not None,
            can_decide=begun.adapter is None or begun.adapter in resident,
        )

    async def _reopen(self, mine: Admission) -> OpenThread:
        if mine.plan is not None:
            return await self._threads.reopen(mine.thread_id, mine.plan["thread"])
        return await self._threads.hold(mine.thread_id)

    async def _close_cut_off(
        self, mine: Admission, asked: Approval | None, thread: OpenThread, failure: Exception
    ) -> None:
        """Closes a turn that cannot go on, with what is known of it."""
        at = checkpoint_at(mine.thread_id, asked.checkpoint_id if asked is not None else None)
        values = (await self._graph.aget_state(at)).values
        is_its_own = values.get("trace_id") == mine.trace_id
        spans = [Span.model_validate(span) for span in values["spans"]] if is_its_own else []
        begun = Begun.model_validate(values["begun"]) if is_its_own else None
        served = _Pinned(begun.adapter, begun.adapter_sha256) if begun is not None else _Pinned(None, None)
        plan = _Plan(mine, begun.created_at if begun is not None else mine.created_at, served, asked)
        trace = self._trace(plan, mine.thread_id, spans, failure=failure)
        _log_failure(trace, failure)
        ending = _failed_ending(failure, acted=is_its_own)
        await self._endings.write(TurnEnd(mine, thread, trace, ending, answered=asked))

    def _start(
        self, plan: _Plan, thread: OpenThread, held: ExitStack, course: Callable[[RunningTurn], Awaitable[_Course]]
    ) -> RunningTurn:
        admission = plan.admission
        turn = RunningTurn(plan.trace_id, thread.thread_id, plan.served.name, admission.id, plan.created_at)
        turn.may_have_acted = plan.answered is not None
        task = asyncio.create_task(self._drive(turn, plan, thread, held, course), name=plan.trace_id)
        self._tasks[admission.id], self._running[admission.id] = task, turn
        task.add_done_callback(lambda _: self._forget(admission.id))
        return turn

    def _forget(self, admission_id: str) -> None:
        del self._tasks[admission_id], self._running[admission_id]

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

    async def _beginning(
        self,
        turn: RunningTurn,
        plan: _Plan,
        thread: OpenThread,
        request: TurnRequest,
        offered: Sequence[ToolSpec],
    ) -> _Course:
        def look_up() -> tuple[dict[str, ToolSpec], str | None]:
            return self._tools.shown(request, offered, thread.messages), self._system_prompt()

        specs, general = await asyncio.to_thread(look_up)
        instructions = "\n\n".join(text for text in (general, request.instructions) if text) or None
        begun = Begun(
            created_at=plan.created_at,
            adapter=plan.served.name,
            adapter_sha256=plan.served.sha256,
            params=request.params,
            tools={spec.name: spec.sha256 for spec in specs.values()},
        )
        state: AgentState = {
            # PostgreSQL keeps plain texts of a thread checkpoint in a form that has no NUL; lists hold anything
            "system": None if thread.system is None else storable(thread.system),
            "instructions": None if instructions is None else storable(instructions),
            "messages": thread.messages,
            "tools": [self._tools.schema(spec) for spec in specs.values()],
            "trace_id": plan.trace_id,
            "echo": request.echo,
            "begun": begun.model_dump(mode="json"),
            "spans": [],
            "repair": [],
            "repairs": 0,
            "run": plan.admission.runs,
            "acts": False,
            "cut": False,
            "dropped": 0,
            "asks": [],
            "consents": {},
            "reply": None,
        }
        context = TurnContext(
            thread.thread_id,
            plan.served.name,
            request.params,
            specs,
            deadline=self._deadline(),
            run=plan.admission.runs,
            stops=lambda: turn.stop is not None,
        )
        return _Course(state, context, checkpoint_at(thread.thread_id))

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.seconds

    async def _drive(
        self,
        turn: RunningTurn,
        plan: _Plan,
        thread: OpenThread,
        held: ExitStack,
        course: Callable[[RunningTurn], Awaitable[_Course]],
    ) -> None:
        """The task of one turn, watched."""
        begun = TurnBegun(
            trace_id=plan.trace_id,
            thread_id=thread.thread_id,
            model=self._base_name,
            adapter=plan.served.name,
            adapter_sha256=plan.served.sha256,
            resumed=plan.answered is not None or plan.admission.runs > 1,
        )
        with self._observer.turn(begun) as ended:
            await self._run_to_its_end(turn, plan, thread, held, course, ended)

    async def _run_to_its_end(
        self,
        turn: RunningTurn,
        plan: _Plan,
        thread: OpenThread,
        held: ExitStack,
        course: Callable[[RunningTurn], Awaitable[_Course]],
        ended: TurnEnded,
    ) -> None:
        """Whatever happens, it is recorded, the thread is let go, and whoever waits is told."""
        spans: list[Span] = []
        reply: Reply | None = None
        length = 0
        goes_on = False
        progress = Progress()
        outcome: TurnResult | BaseException
        try:
            taken = await course(turn)
            try:
                final = await self._follow(turn, plan, taken, spans)
                length = len(final["messages"])
                reply = await self._reply(final, plan, taken.context)
            finally:
                progress = self._progress(taken.context)
            state = State.WAITING if reply.approval else State.FINISHED
            trace = self._trace(plan, thread.thread_id, spans, TraceStatus(state.value))
            outcome = TurnResult(trace, reply, final["dropped"])
            said = reply.model_dump(mode="json")
            ending = Ending(state, turn.may_have_acted, reply=said, dropped=final["dropped"])
        except BaseException as e:  # whatever broke, a turn without a record would be worse
            outcome = e
            if isinstance(e, asyncio.CancelledError):
                outcome = turn.stop or PolicyUnavailable("the server is stopping: send the request again")
                # one that had its answer goes on at the next start: until then it stays on record as running
                goes_on = turn.stop is None and plan.answered is not None
            trace = self._trace(plan, thread.thread_id, spans, failure=outcome)
            ending = _failed_ending(outcome, acted=turn.may_have_acted)
            progress = Progress(reads=progress.reads)  # the thread stays what it was
            _log_failure(trace, outcome)
        else:
            _log_turn(trace, reply)
        held.close()
        is_taken = isinstance(outcome, TurnTaken)
        try:
            if not goes_on and not is_taken:
                end = TurnEnd(plan.admission, thread, trace, ending, progress, reply, length, plan.answered)
                await self._endings.write(end)
        except TurnTaken as e:
            is_taken = True
            log.warning("another server ended the turn", trace=plan.trace_id, error=told(e))
        finally:
            self._threads.close(thread)
            ended(trace, reply)
            if is_taken:  # it ends as the other server says
                self._repetitions.follow(turn)
            else:
                turn.finish(outcome)

    async def _reply(self, final: Mapping[str, Any], plan: _Plan, context: TurnContext) -> Reply:
        """How the turn ended, or the question that it waits for, put on record first."""
        if final["reply"] is not None:
            return Reply.model_validate(final["reply"])
        (asked,) = final["__interrupt__"]
        progress = self._progress(context)
        waits_in = progress.checkpoints.latest
        if waits_in is None:  # it was taken up there
            waits_in = checkpoint_id(await self._graph.aget_state(checkpoint_at(context.thread_id)))
            assert waits_in is not None

        def ask() -> Approval:
            with self._admissions.together():
                self._endings.keep(plan.admission, progress)
                return self._approvals.ask(
                    Ask.model_validate(asked.value),
                    thread_id=context.thread_id,
                    trace_id=plan.trace_id,
                    checkpoint_id=waits_in,
                    length=len(final["messages"]),
                )

        return waiting_reply(await asyncio.to_thread(ask))

    def _progress(self, context: TurnContext) -> Progress:
        """What the turn has done since this was asked for last; whoever asks writes it."""
        reads = list(context.reads)
        context.reads.clear()
        return Progress(self._checkpoints.take(context.thread_id), reads)

    async def _follow(self, turn: RunningTurn, plan: _Plan, course: _Course, spans: list[Span]) -> Mapping[str, Any]:
        """Runs the graph until it ends or waits, keeps `spans` up to date, and tells the news as it happens."""
        state: Mapping[str, Any] = {}
        async for state in self._states(plan.admission, course):
            fresh = [Span.model_validate(span) for span in state["spans"]]
            for span in fresh[max(0, len(spans) - 1) :]:
                if span not in spans:
                    turn.tell(span)
            spans[:] = fresh
        return state

    async def _states(self, admission: Admission, course: _Course) -> AsyncIterator[Mapping[str, Any]]:
        """The state after each node, up to a reply or a question. Whether there is one is what the state says, never what is left
        to run."""
        state: Mapping[str, Any] = course.reached or {}
        if course.reached is not None:
            yield state
        else:
            async for state in self._run(course.input, course.context, course.config):
                yield state
        while state["reply"] is None and "__interrupt__" not in state:
            # Before calls that act: the decision is kept for good. Whoever was taken for dead must not act.
            await asyncio.to_thread(self._presence.make_sure)
            await asyncio.to_thread(self._endings.keep, admission, self._progress(course.context))
            latest = checkpoint_at(admission.thread_id)
            async for state in self._run(None, course.context, latest):
                yield state

    async def _run(
        self, given: AgentState | Command[Any] | None, context: TurnContext, config: RunnableConfig
    ) -> AsyncIterator[Mapping[str, Any]]:
        async for state in self._graph.astream(
            given,
            {**config, "recursion_limit": most_node_runs(self._limits)},
            context=context,
            stream_mode="values",
            durability="exit",  # up to where it waits, acts or ends: less than that is never gone on from
        ):
            assert isinstance(state, dict)
            yield state

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
            resumed_at=self._now() if plan.answered is not None or plan.admission.runs > 1 else None,
            runs=plan.admission.runs,
        )


def _failed_ending(failure: BaseException, *, acted: bool) -> Ending:
    return Ending(State.FAILED, acted, error={"kind": type(failure).__name__, "message": str(failure)})


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
