"""Calls that may be run again are, when they fail of something that passes: a connection, 429, 502, 503, 504.

A `write` is never among them. The waits grow and are drawn at random, so that callers who failed together do not come
back together ("full jitter", Brooker, Exponential Backoff and Jitter, AWS 2015); a longer Retry-After is honoured (RFC 9110,
10.2.3). Where the wait would outlast the tool's time limit, the fault is told at once.
"""

import asyncio
from collections.abc import Awaitable, Callable

import tenacity

from tools.outcome import CallFault
from tools.spec import SideEffect, ToolSpec

ATTEMPTS = 4
FIRST_WAIT_S = 0.1
"""The upper bound of the first wait; it doubles with each."""
LONGEST_WAIT_S = 5.0

Sleep = Callable[[float], Awaitable[None]]


async def with_retries(spec: ToolSpec, call: Callable[[], Awaitable[str]], *, sleep: Sleep = asyncio.sleep) -> str:
    """What `call` gives, at the latest at its last attempt. Raises: CallFault: of the last attempt."""
    if spec.side_effect is SideEffect.WRITE:
        return await call()
    retrying = tenacity.AsyncRetrying(
        sleep=sleep,
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_before_delay(spec.timeout_s),
        wait=_wait_s,
        retry=tenacity.retry_if_exception(_passes),
        reraise=True,
    )
    return await retrying(call)


_backoff = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)


def _wait_s(state: tenacity.RetryCallState) -> float:
    assert state.outcome is not None  # an attempt has ended
    fault = state.outcome.exception()
    asked = fault.retry_after_s if isinstance(fault, CallFault) else None
    return (asked or 0.0) + _backoff(state)


def _passes(error: BaseException) -> bool:
    return isinstance(error, CallFault) and error.transient
