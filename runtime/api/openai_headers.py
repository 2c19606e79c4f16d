"""Headers that OpenAI's clients read and that belong to no one route.

`x-should-retry` of errors is said where errors are told (`runtime.api.errors`); here stands what a turn changes of it.
`x-ratelimit-*` are told where limits are held (`runtime.api.access`); a client that sees none paces itself by 429.
"""

import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.agent.running import RunningTurn


def once_only(turn: RunningTurn) -> dict[str, str]:
    """For the error of a turn: the clients retry a 503 unasked, and what was done must not be done twice."""
    return {"x-should-retry": "false"} if turn.may_have_acted else {}


class OpenAIHeaders:
    """ASGI middleware: tells of each answer how long it took to begin; which request it was, `runtime.api.request_log` says."""

    def __init__(self, app: ASGIApp, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            return await self._app(scope, receive, send)
        started = self._clock()

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["openai-processing-ms"] = str(round((self._clock() - started) * 1000))
            await send(message)

        await self._app(scope, receive, telling)
