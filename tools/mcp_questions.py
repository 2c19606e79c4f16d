"""Which call of a session a server's question belongs to.

Since protocol 2026-07-28 a question comes back in the call's own answer, so it is asked in the call's own task. Before,
it came as a request of the server that names no call: it belongs to the one call under way that has not asked yet. When
there are more, nobody's user is asked what another's call wants to know: the question is cancelled, and from then on the
server's calls run one after the other until each has asked or ended. A call that was given up may still ask, so after one
no question of the session is believed to be another's: the session is given up with it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import TypeAlias

from mcp_types import ElicitRequestFormParams, ElicitRequestParams, ElicitResult

Asker: TypeAlias = Callable[[ElicitRequestFormParams], Awaitable[ElicitResult]]
"""Hands a question on and waits for its answer."""

_CANCEL = ElicitResult(action="cancel")
_OWN: ContextVar["_Call | None"] = ContextVar("call_that_asks", default=None)


class _Call:
    """One call under way."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.turn: asyncio.Lock | None = None
        """Held while no other call of the server may run beside it."""
        self.waits = False

    def let_others(self) -> None:
        if self.turn is not None:
            self.turn.release()
            self.turn = None


class CallsThatAsk:
    """The calls of one session that may be asked about."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
        """Args: on_lost: is called when it can no longer be told which call the session's questions belong to."""
        self._on_lost = on_lost
        self._gave_up = False
        self._calls: list[_Call] = []
        self._one_by_one: asyncio.Lock | None = None

    @contextlib.asynccontextmanager
    async def during(self, asker: Asker | None) -> AsyncIterator[None]:
        if asker is None:
            yield
            return
        call = _Call(asker)
        if self._one_by_one is not None:
            await self._one_by_one.acquire()
            call.turn = self._one_by_one
        self._calls.append(call)
        token = _OWN.set(call)
        try:
            yield
        except asyncio.CancelledError:
            self._gave_up = True
            raise
        finally:
            _OWN.reset(token)
            self._calls.remove(call)
            call.let_others()

    async def ask(self, params: ElicitRequestParams) -> ElicitResult:
        """The user's answer to a question of the server; one that leads to a web page is declined."""
        if not isinstance(params, ElicitRequestFormParams):
            return ElicitResult(action="decline")
        call = _OWN.get() or self._only_one()
        if call is None:
            return _CANCEL
        call.waits = True
        call.let_others()
        try:
            return await call.asker(params)
        finally:
            call.waits = False

    def _only_one(self) -> _Call | None:
        if self._gave_up:
            self._on_lost()
            return None
        asking = [call for call in self._calls if not call.waits]
        if len(asking) == 1:
            return asking[0]
        if self._one_by_one is None:
            self._one_by_one = asyncio.Lock()
        return None
