"""Erases a thread: what was said in it, what was called, what was asked and what was proved, in one transaction.

What is not erased: copies that forked threads have made, what learning has made of the thread, and backups.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from runtime.agent.admission import is_held, remove_admissions
from runtime.agent.tables import thread_heads
from runtime.approvals.tables import approvals
from runtime.database import compact, writing
from runtime.errors import ThreadBusy, ThreadNotFound
from runtime.traces.schema import call_prefix
from runtime.traces.tables import traces
from tools.audit_trail import note
from tools.journal import open_calls, remove_calls


@dataclass(frozen=True, slots=True)
class Erased:
    """Rows that are gone."""

    traces: int
    """With their spans and verdicts."""
    calls: int
    approvals: int
    heads: int


class Erasure:
    def __init__(self, engine: Engine, forget_checkpoints: Callable[[Connection, str], None]) -> None:
        self._engine = engine
        self._forget_checkpoints = forget_checkpoints

    def erase(self, thread_id: str) -> Erased:
        """The caller holds the thread: no turn runs in it. One that waits for a person's answer goes with it.

        Raises:
            ThreadNotFound: nothing is kept of it.
            ThreadBusy: a turn of it runs, in whatever process, a call of it is unfinished, or nobody knows what came of one;
                nothing was changed.
        """
        with writing(self._engine) as connection:
            trace_ids = _trace_ids(connection, thread_id)
            heads = sa.select(sa.func.count()).where(thread_heads.c.thread_id == thread_id)
            if not trace_ids and not connection.scalar(heads):
                raise ThreadNotFound(f"nothing is kept of a thread {thread_id!r}; GET /v1/traces names the threads")
            _refuse_unfinished(connection, thread_id, trace_ids)
            self._forget_checkpoints(connection, thread_id)
            erased = Erased(
                calls=remove_calls(connection, [call_prefix(trace_id) for trace_id in trace_ids]),
                approvals=_delete(connection, approvals, thread_id),
                heads=_delete(connection, thread_heads, thread_id),
                traces=_delete(connection, traces, thread_id),
            )
            remove_admissions(connection, thread_id)
            note(connection, "thread.erased", thread_id, **asdict(erased))
        compact(self._engine)
        return erased


def _trace_ids(connection: Connection, thread_id: str) -> list[str]:
    """Of recorded turns, and of turns that asked somebody, should their record be missing."""
    recorded = sa.select(traces.c.id).where(traces.c.thread_id == thread_id)
    asked = sa.select(approvals.c.trace_id).where(approvals.c.thread_id == thread_id)
    return sorted(connection.scalars(sa.union(recorded, asked)))


def _refuse_unfinished(connection: Connection, thread_id: str, trace_ids: Sequence[str]) -> None:
    """Raises: ThreadBusy: naming the call and the remedy."""
    if is_held(connection, thread_id):
        raise ThreadBusy(f"thread {thread_id!r} was not erased: a turn of it is running; try again when it has ended")
    for call_id, status in open_calls(connection, [call_prefix(trace_id) for trace_id in trace_ids]):
        remedy = "wait for its end"
        if status == "unknown":
            remedy = f"say what came of it (hone tools settle {call_id} ok|failed), or it would be forgotten undecided"
        raise ThreadBusy(f"thread {thread_id!r} was not erased: its call {call_id} is {status}; {remedy}")


def _delete(connection: Connection, table: sa.Table, thread_id: str) -> int:
    return connection.execute(sa.delete(table).where(table.c.thread_id == thread_id)).rowcount
