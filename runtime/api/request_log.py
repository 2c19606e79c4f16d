"""Sees each HTTP request come and go: its id, its place in a caller's trace, one line in the log, one count in the metrics.

A request that breaks is answered here, with the envelope of every other error, so that its answer has its id too and its traceback
is told once, by our log.
"""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import structlog
from opentelemetry import context as otel_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.api.errors import response_to

log = structlog.get_logger(__name__)

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked every few seconds by machines: their lines are for `log_level=debug`."""
NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_SPAN = TraceContextTextMapPropagator()


class RequestLog:
    """ASGI middleware, the outermost of ours."""

    def __init__(self, app: ASGIApp, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        request_id = _request_id(headers.get("x-request-id", ""))
        started = self._clock()
        answer: dict[str, Any] = {}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told["x-request-id"] = request_id
                answer.update(
                    status=message["status"], trace=told.get("x-hone-trace"), thread=told.get("x-hone-thread")
                )
            await send(message)

        # the caller's trace goes on, in the turns that the request begins too
        token = otel_context.attach(_SPAN.extract({n: headers[n] for n in _SPAN.fields if n in headers}))
        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                try:
                    await self._app(scope, receive, send_with_id)
                except Exception as e:  # whatever no handler knows: told to the log, not to the client
                    log.error("request failed", method=_method(scope), route=_route(scope), exc_info=e)
                    if "status" in answer:
                        raise
                    await response_to(e)(scope, receive, send_with_id)
                finally:
                    self._tell(scope, answer, self._clock() - started)
        finally:
            otel_context.detach(token)

    def _tell(self, scope: Scope, answer: dict[str, Any], seconds: float) -> None:
        method, route, status = _method(scope), _route(scope), answer.get("status", 499)
        write = log.debug if route in PROBES else log.info
        names = {name: answer[name] for name in ("trace", "thread") if answer.get(name)}
        write("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), **names)
        hone = getattr(scope["app"].state, "services", None)
        if hone is not None and hone.metrics is not None:
            hone.metrics.request(method, route, status, seconds)


def _request_id(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _method(scope: Scope) -> str:
    """Clients may send any word."""
    return scope["method"] if scope["method"] in METHODS else "other"


def _route(scope: Scope) -> str:
    """The route's template: the path itself may hold ids and whatever a client puts there."""
    template = getattr(scope.get("route"), "path", None)
    if template is None and "endpoint" in scope:  # files under a mount, which is told by where it stands
        template = scope.get("root_path")
    return template or NO_ROUTE
