"""Answers requests that were admitted before: from the turn where it runs here, from the database where it is or was elsewhere."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

import runtime.errors
from runtime.agent.admission import Admission, Admissions, State
from runtime.agent.messages import Reply
from runtime.agent.running import RunningTurn, TurnResult
from runtime.errors import RuntimeFault, StoreError, TraceNotFound, TurnFailed, told
from runtime.traces.schema import Trace

log = structlog.get_logger(__name__)

LOOK_AGAIN_S = 0.1
"""How often a turn that another process runs is looked at."""


class Traces(Protocol):
    def get(self, trace_id: str) -> Trace:
        """Raises: TraceNotFound."""
        ...


class Repetitions:
    """Belongs to one event loop."""

    def __init__(self, admissions: Admissions, traces: Traces, here: Mapping[str, RunningTurn]) -> None:
        """Args: here: the turns that this process runs, by the ids of their admissions."""
        self._admissions = admissions
        self._traces = traces
        self._here = here
        self._watched: dict[str, RunningTurn] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    async def attach(self, earlier: Admission) -> RunningTurn:
        """The turn, with all its news from the beginning."""
        if earlier.id in self._here:
            return self._here[earlier.id]
        if earlier.state is State.RUNNING:
            return self.watch(earlier)
        turn = _turn(earlier)
        await self._tell_end(turn, earlier)
        return turn

    def watch(self, elsewhere: Admission) -> RunningTurn:
        """A turn that another process runs, or took over: it is followed in the database, and its news come at its end."""
        if elsewhere.id not in self._watched:
            turn = self._watched[elsewhere.id] = _turn(elsewhere)
            self.follow(turn)
        return self._watched[elsewhere.id]

    def follow(self, turn: RunningTurn) -> None:
        """Lets `turn` end as the row says that it ended."""
        watcher = asyncio.create_task(self._follow(turn), name=f"watch-{turn.trace_id}")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def close(self) -> None:
        for watcher in list(self._watchers):
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    async def _follow(self, turn: RunningTurn) -> None:
        try:
            while True:
                try:
                    now = await asyncio.to_thread(self._admissions.get, turn.admission_id)
                    if now is None or now.state is not State.RUNNING:
                        await self._tell_end(turn, now)
                        return
                except StoreError as e:  # the database may be back at the next look
                    log.error("a turn of another server not looked at", error=told(e))
                await asyncio.sleep(LOOK_AGAIN_S)
        finally:
            self._watched.pop(turn.admission_id, None)
            if not turn.is_over:
                turn.finish(
                    runtime.errors.Stopping("the server is stopping: send the request again, to another server")
                )

    async def _tell_end(self, turn: RunningTurn, ended: Admission | None) -> None:
        """Raises: StoreError."""
        if ended is None:
            turn.finish(TurnFailed(f"the turn {turn.trace_id} was erased"))
            return
        turn.may_have_acted = ended.acted
        if ended.reply is None:
            turn.finish(_failure(ended))
            return
        try:
            trace = await asyncio.to_thread(self._traces.get, ended.trace_id)
        except TraceNotFound:
            turn.finish(TurnFailed(f"the turn {turn.trace_id} ended, and its record is missing"))
            return
        turn.adapter = trace.adapter
        turn.tell_all(trace)
        turn.finish(TurnResult(trace, Reply.model_validate(ended.reply), ended.dropped))


def _turn(row: Admission) -> RunningTurn:
    adapter = row.plan["adapter"] if row.plan else None
    turn = RunningTurn(row.trace_id, row.thread_id, adapter, row.id, row.created_at)
    turn.is_paid = True  # where it ran
    return turn


def _failure(ended: Admission) -> Exception:
    """What the turn failed with, of its own kind where it is one of ours."""
    told = ended.error or {"kind": "", "message": "the server failed"}
    kind: Callable[[str], Exception] | None = getattr(runtime.errors, told["kind"], None)
    if isinstance(kind, type) and issubclass(kind, RuntimeFault):
        return kind(told["message"])
    return TurnFailed(f"{told['kind']}: {told['message']}")
