"""Writes what turns come to: the end of the row, the record, the thread checkpoint, the thread's new past, the settled approval and
what was read, in one transaction; and, where a turn acts or asks before its end, how far it has come by then."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy.engine import Connection

from runtime.agent.admission import Admission, Admissions, Ending
from runtime.agent.messages import Reply
from runtime.agent.observer import Observer
from runtime.agent.thread_checkpoints import HeldCheckpoints, ThreadCheckpoints
from runtime.agent.threads import OpenThread, Threads
from runtime.approvals.schema import Approval
from runtime.approvals.store import ApprovalStore
from runtime.errors import StoreError, TurnTaken, told
from runtime.traces.schema import Trace
from tools.journal import ReadRow, add_reads

log = structlog.get_logger(__name__)


class TraceRecorder(Protocol):
    def record(self, trace: Trace) -> None: ...

    def get(self, trace_id: str) -> Trace:
        """Raises: TraceNotFound."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What a turn has done since it wrote last."""

    checkpoints: HeldCheckpoints = field(default_factory=HeldCheckpoints)
    reads: Sequence[ReadRow] = ()


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """All that is to be written."""

    admission: Admission
    thread: OpenThread
    trace: Trace
    ending: Ending
    progress: Progress = field(default_factory=Progress)
    reply: Reply | None = None
    """None: it failed, and the thread is what it was before."""
    length: int = 0
    """Messages of the thread by now."""
    answered: Approval | None = None
    """What the turn had waited for."""


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """The end of a turn that the database would not take."""

    write: Callable[[], None]
    admission: Admission


class Endings:
    """Belongs to one event loop."""

    def __init__(
        self,
        admissions: Admissions,
        recorder: TraceRecorder,
        approvals: ApprovalStore,
        threads: Threads,
        checkpoints: ThreadCheckpoints,
        observer: Observer,
    ) -> None:
        self._admissions = admissions
        self._recorder = recorder
        self._approvals = approvals
        self._threads = threads
        self._checkpoints = checkpoints
        self._observer = observer
        self._unwritten: list[_Unwritten] = []

    def is_late(self, admission_id: str) -> bool:
        """Whether the end of a turn is yet to be written."""
        return any(late.admission.id == admission_id for late in self._unwritten)

    async def write_late(self) -> None:
        """Tries again to write the ends of turns that the database would not take."""
        for late in list(self._unwritten):
            try:
                await asyncio.to_thread(late.write)
            except StoreError:
                return
            except TurnTaken:
                pass
            self._unwritten.remove(late)
            log.info("trace recorded late", trace=late.admission.trace_id)

    def keep(self, admission: Admission, progress: Progress) -> None:
        """Synchronous; a part of the caller's transaction, if there is one.

        Raises:
            TurnTaken: another server has the turn; nothing was written.
            StoreError
        """
        with self._admissions.together() as connection:
            self._admissions.check_mine(admission)
            self._write_progress(connection, progress)

    def _write_progress(self, connection: Connection, progress: Progress) -> None:
        self._checkpoints.write(progress.checkpoints)
        add_reads(connection, progress.reads)

    async def write(self, end: TurnEnd) -> None:
        """What the database will not take now is tried again later. Raises: TurnTaken: another server has the turn."""

        def write(*, with_trace: bool = True) -> None:
            with self._admissions.together() as connection:
                self._admissions.close(end.admission, end.ending)
                self._write_progress(connection, end.progress)
                if with_trace:
                    self._recorder.record(end.trace)
                if end.answered is not None:
                    self._approvals.settle(end.answered.id)
                if end.reply is not None:
                    self._threads.advance(end.thread, end.reply, end.length)

        try:
            with self._observer.recording():
                await asyncio.to_thread(write)
            return
        except TurnTaken:
            raise
        except Exception as e:  # the user's answer does not hang on a database that is full, locked or wrong
            log.error("trace not recorded", trace=end.trace.id, error=told(e))
            is_late = isinstance(e, StoreError)
        try:
            if not is_late:  # the trace itself cannot be kept: the thread goes on without it
                await asyncio.to_thread(write, with_trace=False)
        except StoreError as e:
            log.error("thread not advanced", thread=end.thread.thread_id, error=told(e))
            is_late = True
        if is_late:
            self._unwritten.append(_Unwritten(write, end.admission))
