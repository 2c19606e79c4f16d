"""The clients that wait for a turn, and what becomes of it when the last of them has gone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import Request

from runtime.agent.running import RunningTurn, TurnResult
from runtime.errors import Interrupted
from runtime.services import Services


@contextmanager
def waiting_for(turn: RunningTurn, hone: Services) -> Iterator[None]:
    """A client waits for the turn within the block. Where the settings say so, a turn that nobody waits for any more, and that has
    called nothing, is stopped: one that may have acted goes on, so that what it did is told in its thread."""
    turn.waiting += 1
    try:
        yield
    finally:
        turn.waiting -= 1
        is_left = turn.waiting == 0 and not turn.is_over and not turn.may_have_acted
        if is_left and hone.settings.on_disconnect == "cancel":
            hone.turns.stop(turn.admission_id, Interrupted("the client of the turn has gone"))


async def result_for(request: Request, turn: RunningTurn, hone: Services) -> TurnResult:
    """The end of a turn, for a client that may go before it. Raises: what the turn failed with."""
    if hone.settings.on_disconnect == "detach":
        return await turn.result()
    gone, done = asyncio.create_task(_gone(request)), asyncio.create_task(turn.result())
    with waiting_for(turn, hone):
        await asyncio.wait((gone, done), return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    return await done


async def for_client(hone: Services, turn: RunningTurn, events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The stream of a turn, for a client that may go before it ends."""
    with waiting_for(turn, hone):
        async for event in events:
            yield event


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
