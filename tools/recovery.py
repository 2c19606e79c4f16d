"""What a server does about calls that a stopped one left unfinished.

A write becomes `unknown`, at once and before anything is served. An idempotent call is run again with its key, if the very
definition that was called is still in service and the call is no older than services commonly keep keys for; else it
becomes unknown too. A read has no row before its end: only one that was taken over can be found here, and it is run again.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog

from tools.errors import ToolError, UnknownTool
from tools.journal import CallRecord, Journal
from tools.outcome import CallResult
from tools.presence import Presence
from tools.spec import SideEffect, ToolSpec
from tools.tenancy import for_tenant

log = structlog.get_logger(__name__)

KEY_LIFE = timedelta(hours=24)
"""A key older than this may be forgotten by the service, and the call would be done twice (Stripe keeps keys for 24 h)."""
LOOK_EVERY_S = 5.0
AT_A_TIME = 8


class Caller(Protocol):
    async def run(self, spec: ToolSpec, arguments: dict[str, Any], *, call_id: str) -> CallResult: ...


class InService(Protocol):
    def get(self, name: str) -> ToolSpec:
        """Raises: UnknownTool."""
        ...


class Recovery:
    """Looks after the unfinished calls of other processes; never touches those of its own."""

    def __init__(
        self,
        journal: Journal,
        presence: Presence,
        catalogue: InService,
        caller: Caller,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._journal = journal
        self._presence = presence
        self._catalogue = catalogue
        self._caller = caller
        self._now = now

    def give_up_writes(self) -> Sequence[tuple[CallRecord, ToolSpec]]:
        """Calls that nobody is at become unknown, except those that it returns: they may be run again."""
        repeatable: list[tuple[CallRecord, ToolSpec]] = []
        # before the rows are read: whoever ends later may leave rows that are not among them
        ended = self._presence.ended()
        unfinished = self._journal.unfinished()
        for record in unfinished:
            if not self._is_left(record):
                continue
            spec = self._repeatable(record)
            if spec is not None:
                repeatable.append((record, spec))
            elif self._journal.give_up(record):
                log.warning("tool call unknown", call=record.call_id, tool=record.tool)
        self._presence.forget(ended - {record.owner for record in unfinished})
        return repeatable

    async def run_again(self, left: Sequence[tuple[CallRecord, ToolSpec]]) -> None:
        gate = asyncio.Semaphore(AT_A_TIME)

        async def run(record: CallRecord, spec: ToolSpec) -> None:
            async with gate:
                with for_tenant(record.tenant):
                    result = await self._caller.run(spec, record.arguments, call_id=record.call_id)
            log.info("tool call run again", call=record.call_id, tool=record.tool, status=result.status)

        await asyncio.gather(*(run(record, spec) for record, spec in left))

    async def follow(self, left: Sequence[tuple[CallRecord, ToolSpec]]) -> None:
        """Runs `left` again, then looks again and again, for what servers on other machines leave."""
        while True:
            try:
                await self.run_again(left)
                await asyncio.sleep(LOOK_EVERY_S)
                left = await asyncio.to_thread(self.give_up_writes)
            except ToolError as e:  # the database may be back at the next look
                log.error("unfinished tool calls not looked after", error=str(e))
                left = ()
                await asyncio.sleep(LOOK_EVERY_S)

    def _is_left(self, record: CallRecord) -> bool:
        return record.deadline <= self._now() or self._presence.is_gone(record.owner)

    def _repeatable(self, record: CallRecord) -> ToolSpec | None:
        """The definition to run it again by; None: it may not be."""
        if record.side_effect is SideEffect.WRITE or record.started_at + KEY_LIFE < self._now():
            return None
        try:
            with for_tenant(record.tenant):
                spec = self._catalogue.get(record.tool)
        except UnknownTool:
            return None
        return spec if spec.sha256 == record.tool_sha256 else None
