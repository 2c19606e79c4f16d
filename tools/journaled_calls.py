"""Runs each tool call once, whatever is asked for again: the journal before the call, the journal after it.

A call id that is on record gets the recorded outcome. One that is unfinished is waited for while somebody may be at it;
after that a read or an idempotent call is run again, and a write becomes `unknown`, which a person settles.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

import structlog

from tools.errors import JournalUnavailable
from tools.journal import CallRecord, Journal, ReadRow, is_same_call
from tools.outcome import CallResult, error_text
from tools.presence import Presence
from tools.spec import CallStatus, SideEffect, ToolSpec

log = structlog.get_logger(__name__)

LOOK_AGAIN_S = 0.1
"""How often a call that another process runs is looked at."""


class JournaledCalls:
    """Belongs to one event loop."""

    def __init__(
        self,
        journal: Journal,
        presence: Presence,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._journal = journal
        self._presence = presence
        self._now = now
        self._sleep = sleep
        self._at_work: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def once(
        self,
        spec: ToolSpec,
        arguments: Mapping[str, Any],
        call_id: str,
        perform: Callable[[], Awaitable[CallResult]],
        *,
        place: Callable[[], AbstractAsyncContextManager[None]],
        reads: list[ReadRow] | None = None,
    ) -> CallResult:
        """The outcome of `perform`, or the recorded one.

        Args:
            reads: takes the row of a call that only reads, for the caller to write; None: it is written here.
            place: opened before the row is written, so that a call that waits for its turn is not taken for one that left.

        Raises:
            JournalUnavailable: the call cannot be written down, so it was not made.
            CallFault: as `place`.
        """
        lock = self._at_work.get(call_id)
        if lock is None:
            lock = self._at_work[call_id] = asyncio.Lock()
        async with lock:
            earlier = await asyncio.to_thread(self._journal.find, call_id)
            while True:
                if earlier is not None and not is_same_call(earlier, spec, arguments):
                    return _taken(earlier)
                earlier = await self._settled(earlier)
                if earlier is not None and earlier.outcome is not None:
                    return earlier.result
                async with place():
                    if await self._begin(earlier, spec, arguments, call_id):
                        return await self._perform(spec, arguments, call_id, perform, reads)
                earlier = await asyncio.to_thread(self._journal.find, call_id)

    def may_be_under_way(self, record: CallRecord) -> bool:
        """Whether another process, or another call of this one, may be at an unfinished call."""
        return record.deadline > self._now() and not self._presence.is_gone(record.owner)

    async def _settled(self, record: CallRecord | None) -> CallRecord | None:
        """The record when nobody is at the call any more; a write without an end has become unknown by then."""
        while record is not None and record.outcome is None:
            # This process's own row with nobody at it (the lock is held) is of a call that was given up.
            if record.owner != self._presence.owner and self.may_be_under_way(record):
                await self._sleep(LOOK_AGAIN_S)
            elif record.side_effect is not SideEffect.WRITE:
                return record
            else:
                await asyncio.to_thread(self._journal.give_up, record)
            record = await asyncio.to_thread(self._journal.find, record.call_id)
        return record

    async def _begin(
        self, earlier: CallRecord | None, spec: ToolSpec, arguments: Mapping[str, Any], call_id: str
    ) -> bool:
        """Whether the call is this process's to make."""
        if earlier is not None:
            return await asyncio.to_thread(self._journal.begin_again, earlier, spec, self._presence.owner)
        if spec.side_effect is SideEffect.READ:
            return True
        return await asyncio.to_thread(self._journal.begin, spec, arguments, call_id, self._presence.owner)

    async def _perform(
        self,
        spec: ToolSpec,
        arguments: Mapping[str, Any],
        call_id: str,
        perform: Callable[[], Awaitable[CallResult]],
        reads: list[ReadRow] | None,
    ) -> CallResult:
        result = await perform()
        owner = self._presence.owner
        try:
            if spec.side_effect is SideEffect.READ and reads is not None:
                reads.append(self._journal.read_row(spec, arguments, call_id, owner, result))
            elif spec.side_effect is SideEffect.READ:
                await asyncio.to_thread(self._journal.record, spec, arguments, call_id, owner, result)
            else:
                await asyncio.to_thread(self._journal.complete, call_id, owner, result)
        except JournalUnavailable as e:
            # The call has been made, and its result is known here: the turn goes on. The row stays unfinished.
            log.error("outcome not in the journal", call=call_id, tool=spec.name, status=result.status, error=str(e))
        return result


def _taken(record: CallRecord) -> CallResult:
    told = f"the call id {record.call_id} belongs to another call, of {record.tool}: nothing was called"
    return CallResult(CallStatus.FAILED, error_text(CallStatus.FAILED, told), 0.0)
