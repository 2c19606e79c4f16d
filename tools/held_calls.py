"""Calls of MCP tools that stop to ask the user, kept under way between two turns.

The call is a task of its own. Whoever waits for it gets the next thing that comes of it: a question, or its result. A
call that asked is kept until its answer is given; after `limit_s` it is given up, which tells the server so. Nothing of
this outlives the process.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable

from mcp_types import CallToolResult, ElicitRequestFormParams, ElicitResult

from tools.mcp_questions import Asker
from tools.question import Answer, Question

HOLD_LIMIT_S = 600.0
MOST_HELD = 64
"""In one process; the oldest is given up for a newer one."""


class HeldCall:
    """A call from its beginning to its result; needs a running event loop."""

    def __init__(self, run: Callable[[Asker], Awaitable[CallToolResult]], *, at_hand: Answer | None = None) -> None:
        """
        Args:
            run: makes the call.
            at_hand: answers the first question, if that is the one that it answered before.
        """
        self.id = uuid.uuid4().hex
        self._at_hand = at_hand
        self._questions: asyncio.Queue[ElicitRequestFormParams] = asyncio.Queue()
        self._answer: asyncio.Future[ElicitResult] | None = None
        self._one_question = asyncio.Lock()
        self._task = asyncio.ensure_future(run(self._ask))

    async def next(self) -> CallToolResult | ElicitRequestFormParams:
        """What comes next of the call; whoever is cancelled while waiting ends it. Raises: whatever it failed with."""
        question = asyncio.create_task(self._questions.get())
        try:
            await asyncio.wait({self._task, question}, return_when=asyncio.FIRST_COMPLETED)
            return question.result() if question.done() else self._task.result()
        except asyncio.CancelledError:
            await self.give_up()
            raise
        finally:
            question.cancel()

    def answer(self, answer: Answer) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(_result(answer))

    async def give_up(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):  # nobody is left who would be told
            await self._task

    async def _ask(self, params: ElicitRequestFormParams) -> ElicitResult:
        async with self._one_question:  # a server may ask several at once: the user is asked one after the other
            known, self._at_hand = self._at_hand, None
            if known is not None and known.question.requested == params.requested_schema:
                return _result(known)
            self._answer = asyncio.get_running_loop().create_future()
            self._questions.put_nowait(params)
            return await self._answer


class HeldCalls:
    """The calls that wait for an answer, oldest first."""

    def __init__(self, *, limit_s: float = HOLD_LIMIT_S, most: int = MOST_HELD) -> None:
        self.limit_s = limit_s
        self._most = most
        self._calls: dict[str, tuple[HeldCall, asyncio.TimerHandle]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def keep(self, call: HeldCall) -> None:
        while len(self._calls) >= self._most:
            self._drop(next(iter(self._calls)))
        timer = asyncio.get_running_loop().call_later(self.limit_s, self._drop, call.id)
        self._calls[call.id] = (call, timer)

    def take(self, question: Question) -> HeldCall | None:
        """The call that asked; None: it is gone. Whoever takes it sees it to its end."""
        call, timer = self._calls.pop(question.call, (None, None))
        if timer is not None:
            timer.cancel()
        return call

    async def close(self) -> None:
        for name in list(self._calls):
            self._drop(name)
        if self._leaving:
            await asyncio.wait(self._leaving)

    def _drop(self, name: str) -> None:
        call, timer = self._calls.pop(name)
        timer.cancel()
        task = asyncio.create_task(call.give_up())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


def _result(answer: Answer) -> ElicitResult:
    if answer.content is None:
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content=answer.content)
