"""What a server does about turns that a stopped one left running, and about those of its own that others want to end."""

import asyncio
import time
from datetime import timedelta

import structlog

from runtime.agent.admission import Admission, Admissions
from runtime.agent.turns import Turns
from runtime.database import utc_now
from runtime.errors import Interrupted, RuntimeFault, Stopping, told
from runtime.presence import SharedPresence
from tools.tenancy import Caller, acting

log = structlog.get_logger(__name__)

AT_A_TIME = 8
SUSPECT_RUNS = 2
"""A turn in which so many servers ended may be what ended them. Such turns are taken up one after the other, so that it takes none
of the others with it: what only ran beside it is done before its own turn comes, or is not begun."""
FORGOTTEN = timedelta(seconds=30)
"""A turn of this process that nothing here is at, and is so old, was admitted by a request that broke right then."""
SWEEP_EVERY_S = 600.0


class TurnRecovery:
    """Belongs to one event loop."""

    def __init__(
        self, admissions: Admissions, turns: Turns, presence: SharedPresence, *, look_every_s: float = 0.25
    ) -> None:
        """Args: look_every_s: seconds between two looks."""
        self._admissions = admissions
        self._turns = turns
        self._presence = presence
        self._look_every_s = look_every_s
        self._places, self._suspects = asyncio.Semaphore(AT_A_TIME), asyncio.Semaphore(1)
        self._taken: dict[str, asyncio.Task[None]] = {}
        self._swept_at = 0.0
        self._last_complaint: str | None = None

    async def run(self) -> None:
        """Looks again and again, until it is cancelled."""
        while True:
            try:
                await self.look()
                self._last_complaint = None
            except RuntimeFault as e:  # the database may be back at the next look
                self._complain("turns of stopped servers not looked for", e)
            await asyncio.sleep(self._look_every_s)

    async def look(self) -> None:
        """Takes up what was left; returns while that runs. Raises: StoreError."""
        await self._turns.write_late()
        if self._turns.is_stopping:
            return
        for row in await asyncio.to_thread(self._admissions.running):
            if row.owner == self._presence.owner:
                if row.stop:
                    self._turns.stop(row.id, Interrupted("the turn gave way to a newer message of its thread"))
                is_left = utc_now() - row.created_at > FORGOTTEN and not self._turns.has(row.id)
            else:
                is_left = self._presence.has_left(row.owner)
            if is_left and row.id not in self._taken:
                task = asyncio.create_task(self._see_to(row), name=f"take-up-{row.trace_id}")
                self._taken[row.id] = task
                task.add_done_callback(lambda _, key=row.id: self._taken.pop(key, None))
        if time.monotonic() - self._swept_at > SWEEP_EVERY_S:
            await asyncio.to_thread(self._admissions.sweep)
            self._swept_at = time.monotonic()

    async def close(self) -> None:
        """Leaves what has not begun to go on for another server, or the next start."""
        tasks = list(self._taken.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _see_to(self, row: Admission) -> None:
        async with self._suspects if row.runs >= SUSPECT_RUNS else self._places:
            mine: Admission | None = None
            while True:
                try:
                    mine = mine or await asyncio.to_thread(self._admissions.take_over, row)
                    if mine is None:
                        return
                    log.warning("turn taken up", trace=row.trace_id, thread=row.thread_id, run=mine.runs)
                    with acting(Caller(row.tenant, row.user)):
                        return await self._turns.take_up(mine)
                except Stopping:
                    return
                except Exception as e:  # whatever breaks here, the turn is not over: it is tried again
                    self._complain(f"the turn {row.trace_id} was not taken up", e)
                    await asyncio.sleep(self._look_every_s)

    def _complain(self, about: str, error: Exception) -> None:
        """Once, not at each look."""
        said = f"{about}: {told(error)}"
        if said != self._last_complaint:
            log.error(about, error=told(error))
        self._last_complaint = said
