"""From a person's answer to the turn that waited for it.

An answer given here is taken while its thread is held, and its turn goes on at once. One that came by another way (by the
command line, before a restart, by nobody having said anything in time) is found in the store by `run`.
"""

import asyncio
from contextlib import AbstractContextManager

import structlog

from runtime.agent.running import RunningTurn
from runtime.agent.threads import Threads
from runtime.agent.turns import Turns
from runtime.approvals.schema import Approval, Verdict
from runtime.approvals.store import ApprovalStore
from runtime.errors import Stopping, ThreadBusy, told
from tools.tenancy import Caller, acting, caller

log = structlog.get_logger(__name__)


class Answers:
    """Takes answers and sees that each waiting turn goes on."""

    def __init__(self, store: ApprovalStore, threads: Threads, turns: Turns, *, poll_s: float = 0.25) -> None:
        """
        Args:
            threads: those of `turns`.
            poll_s: seconds between two looks for answers that came by another way.
        """
        self._store = store
        self._threads = threads
        self._turns = turns
        self._poll_s = poll_s
        self._going_on: dict[str, asyncio.Task[None]] = {}
        self._last_complaint: str | None = None

    async def decide(
        self, approval_id: str, verdict: Verdict, *, via: str, thread_id: str | None = None
    ) -> RunningTurn:
        """Takes an answer and lets the turn go on; returns while it runs.

        Args: thread_id: the thread from which the answer comes; None: from somebody who may speak for all.

        Raises: ApprovalNotFound, ApprovalSpent, ApprovalExpired, ThreadBusy, Stopping: nothing was changed.
        """
        self._turns.check_takes_turns()
        asked = await asyncio.to_thread(self._store.get, approval_id)
        with _asker(asked):
            thread = await self._threads.hold(asked.thread_id)
        answerer = caller()

        def take() -> Approval:
            with acting(answerer):  # the turn goes on in the name of whoever it is of
                return self._store.decide(approval_id, verdict, via=via, thread_id=thread_id)

        try:
            with _asker(asked):
                return await self._turns.decide(thread, asked, take)
        except BaseException:
            self._threads.close(thread)
            raise

    async def run(self) -> None:
        """Looks for answers until it is cancelled."""
        while True:
            try:
                await self.catch_up()
            except Exception as e:  # whatever the database's driver raises: the next look may do better
                self._complain("waiting turns not looked for", e)
            await asyncio.sleep(self._poll_s)

    async def catch_up(self) -> None:
        """Lets each turn go on whose answer is there and which nobody sees to yet; returns while they run."""
        for due in await asyncio.to_thread(self._store.due):
            if due.id not in self._going_on:
                task = asyncio.create_task(self._see_to(due), name=due.id)
                self._going_on[due.id] = task
                task.add_done_callback(lambda _, key=due.id: self._going_on.pop(key, None))

    async def close(self) -> None:
        """Leaves what has not begun to go on for the next start."""
        tasks = list(self._going_on.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _see_to(self, due: Approval) -> None:
        try:
            with _asker(due):
                turn = await self._go_on(due)
                if turn is not None:
                    await turn.result()
        except (Stopping, ThreadBusy):
            return  # it goes on at the next start, or when the turn of another process has ended
        except Exception as e:  # the turn's own failure is on record; the next look tries what has not begun
            self._complain(f"the turn {due.trace_id} that waited failed", e)

    def _complain(self, about: str, error: Exception) -> None:
        """Once, not at each look."""
        said = f"{about}: {told(error)}"
        if said != self._last_complaint:
            log.error(about, error=told(error))
        self._last_complaint = said

    async def _go_on(self, due: Approval) -> RunningTurn | None:
        """None: it has gone on in the meantime."""
        thread = await self._threads.hold(due.thread_id)
        try:
            now = await asyncio.to_thread(self._store.expire, due.id)
            if now.settled_at is None:
                return await self._turns.go_on(thread, now)
        except BaseException:
            self._threads.close(thread)
            raise
        self._threads.close(thread)
        return None


def _asker(asked: Approval) -> AbstractContextManager[None]:
    return acting(Caller(asked.tenant, asked.user))
