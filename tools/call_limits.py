"""How many calls of one tool run at a time and within a minute, where its developer has set a bound.

The bounds hold for one server process. A call waits for its place as long as the tool's own time limit, and is refused
with words for the policy when none came free.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiolimiter import AsyncLimiter

from tools.outcome import CallFault
from tools.spec import CallStatus, ToolSpec
from tools.tenancy import caller

MINUTE_S = 60.0


class CallLimits:
    """The places of each tool; belongs to one event loop."""

    def __init__(self) -> None:
        # With the bound, so that a changed definition gets a gate of its own.
        self._places: dict[str, tuple[int, asyncio.Semaphore]] = {}
        self._rates: dict[str, tuple[int, AsyncLimiter]] = {}

    @asynccontextmanager
    async def place(self, spec: ToolSpec) -> AsyncIterator[None]:
        """Holds a place while the block runs. Raises: CallFault: `busy`, when none came free in time."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(spec.timeout_s):
                    await self._enter(spec, held)
            except TimeoutError as e:
                raise CallFault(CallStatus.BUSY, _refusal(spec)) from e
            yield

    async def _enter(self, spec: ToolSpec, held: AsyncExitStack) -> None:
        # The place first: a call that never gets one has not used up the rate.
        if spec.max_concurrent is not None:
            await held.enter_async_context(self._semaphore(_whole_name(spec), spec.max_concurrent))
        if spec.max_per_minute is not None:
            await self._limiter(_whole_name(spec), spec.max_per_minute).acquire()

    def _semaphore(self, name: str, bound: int) -> asyncio.Semaphore:
        kept = self._places.get(name)
        if kept is None or kept[0] != bound:
            kept = self._places[name] = (bound, asyncio.Semaphore(bound))
        return kept[1]

    def _limiter(self, name: str, bound: int) -> AsyncLimiter:
        kept = self._rates.get(name)
        if kept is None or kept[0] != bound:
            kept = self._rates[name] = (bound, AsyncLimiter(bound, MINUTE_S))
        return kept[1]


def _whole_name(spec: ToolSpec) -> str:
    """Tenants' tools of one name do not share its places; a tool of all tenants has one set of them."""
    who = caller()
    return spec.name if who is None or spec.is_shared else f"{who.tenant}/{spec.name}"


def _refusal(spec: ToolSpec) -> str:
    bounds = []
    if spec.max_concurrent is not None:
        bounds.append(f"{spec.max_concurrent} at a time")
    if spec.max_per_minute is not None:
        bounds.append(f"{spec.max_per_minute} a minute")
    return (
        f"{spec.name} takes {' and '.join(bounds)}, and no place came free within {spec.timeout_s:g} s: "
        "it was not called; try again later"
    )
