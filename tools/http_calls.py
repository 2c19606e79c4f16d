"""Calls of HTTP endpoints: one request, one answer in JSON, both bounded.

A GET or HEAD without a body follows redirects by the rules of `tools.redirects`; nothing else does, for its arguments
and its effect are for the address that the developer registered. The answer is read in pieces, so that an endless one
is cut off at the limit.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx2
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tools.errors import DestinationRefused
from tools.http_auth import Credentials
from tools.outcome import NO_CONTENT, CallFault, failure, refusal, shorten
from tools.redaction import Redaction
from tools.redirects import send_following
from tools.request_layout import LaidOut, lay_out
from tools.secret_bounds import Use
from tools.spec import CallStatus, HttpBackend, SideEffect, ToolSpec
from tools.transport import public_form
from tools.webhook_signature import signature_headers

_READING = frozenset({"GET", "HEAD"})
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_NOT_THE_ARGUMENTS = {
    401: "it wants credentials: the tool's developer must set its headers",
    407: "a proxy wants credentials: the operator must set them",
    429: "it is being asked too often: wait before calling it again",
}
"""Statuses below 500 that other arguments would not change, so they teach nothing about arguments."""
_PASSING = frozenset({429, 502, 503, 504})
"""Statuses that the same request may not meet again in a moment."""
_FROM_A_GATEWAY = frozenset({502, 504})
"""Told in the service's place: the service may have done its work."""
_BROKEN_CONNECTION = (httpx2.NetworkError, httpx2.RemoteProtocolError)
_MAX_ERROR_BYTES = 65_536
_SPAN = TraceContextTextMapPropagator()
"""Tells the service, by W3C Trace Context, in which span it was called, where spans are made; no baggage, which a client may have
filled."""


class HttpCaller:
    """Runs the tools whose backend is an HTTP endpoint; each call is one request, tried once."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        credentials: Credentials,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._credentials = credentials
        self._now = now

    async def call(self, spec: ToolSpec, backend: HttpBackend, arguments: Mapping[str, Any], *, call_id: str) -> str:
        """The answer as JSON text, without the secrets that the request carried.

        Raises: CallFault: rejected, failed, or larger than `spec.max_result_bytes`. The time limit is the caller's.
        """
        redaction = Redaction()
        try:
            return redaction.clean(await self._exchange(spec, backend, arguments, call_id, redaction))
        except CallFault as e:
            # Its cause is dropped too: it may quote the request.
            raise e.reworded(redaction.clean(str(e))) from None

    async def _exchange(
        self, spec: ToolSpec, backend: HttpBackend, arguments: Mapping[str, Any], call_id: str, redaction: Redaction
    ) -> str:
        address = public_form(backend.url)
        try:
            request = await self._request(spec, backend, arguments, call_id, redaction)
            address = public_form(request.url)
            response = await self._send(request, redaction)
            if response.status_code == 401:
                self._credentials.forget(backend.auth)
            try:
                return await _answer(response, address, spec.max_result_bytes, self._now(), redaction)
            finally:
                await response.aclose()
        except DestinationRefused as e:
            raise failure(f"{address} was not called: {e}") from e
        except httpx2.ConnectError as e:
            told = f"cannot connect to {address}: the service is down or unreachable ({_reason(e, redaction)})"
            raise failure(told, transient=True) from e
        except (httpx2.HTTPError, httpx2.InvalidURL) as e:
            is_broken = isinstance(e, _BROKEN_CONNECTION)
            never_left = isinstance(e, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)
            told = f"{address} broke off: {_reason(e, redaction)}"
            raise failure(told, transient=is_broken, may_have_run=not never_left) from e

    async def _send(self, request: httpx2.Request, redaction: Redaction) -> httpx2.Response:
        if request.method in _READING and "content-length" not in request.headers:
            return await send_following(self._client, request, hidden=redaction)
        return await self._client.send(request, stream=True, follow_redirects=False)

    async def _request(
        self, spec: ToolSpec, backend: HttpBackend, arguments: Mapping[str, Any], call_id: str, redaction: Redaction
    ) -> httpx2.Request:
        if backend.layout is None:
            laid = _in_query_or_body(backend, arguments)
        else:
            named = {placed.secret for placed in backend.layout.placements if placed.secret is not None}
            uses = [Use(name, backend.url, spec.name) for name in sorted(named)]
            values = {use.secret: await self._credentials.secret(redaction, use) for use in uses}
            laid = lay_out(backend, backend.layout, arguments, values.__getitem__)
        laid = await self._credentials.apply(backend.auth, laid, redaction, tool=spec.name)
        headers = {"accept": "application/json", **backend.headers, **laid.headers}
        if laid.cookies:
            headers["cookie"] = "; ".join(laid.cookies)
        _SPAN.inject(headers)
        key = quote(call_id, safe="")
        if spec.side_effect is not SideEffect.READ:
            # A service that knows the header does the work once, however often the request arrives.
            headers["idempotency-key"] = key
        if backend.signing_secret is not None:
            use = Use(backend.signing_secret, laid.url, spec.name)
            secret = await self._credentials.secret(redaction, use)
            headers |= signature_headers(backend.signing_secret, secret, key, laid.content or b"", self._now())
        return self._client.build_request(backend.method, laid.url, content=laid.content, headers=headers, timeout=None)


def _in_query_or_body(backend: HttpBackend, arguments: Mapping[str, Any]) -> LaidOut:
    """What a tool without a layout sends."""
    if backend.method in _BODY_METHODS:
        content = json.dumps(dict(arguments), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        return LaidOut(backend.url, {"content-type": "application/json"}, content=content)
    url = httpx2.URL(backend.url)
    return LaidOut(str(url.copy_with(params=url.params.merge(query_values(arguments)))))


def query_values(arguments: Mapping[str, Any]) -> dict[str, list[str]]:
    """Arguments as query parameters: a list repeats its name, an object goes as JSON, null is left out."""
    return {
        name: [
            part if isinstance(part, str) else json.dumps(part)
            for part in (value if isinstance(value, list) else [value])
            if part is not None
        ]
        for name, value in arguments.items()
    }


async def _answer(response: httpx2.Response, address: str, limit: int, now: datetime, redaction: Redaction) -> str:
    status = response.status_code
    if status >= 400:
        body, complete = await _read(response, _MAX_ERROR_BYTES)
        told = error_message(body, response.headers.get("content-type", ""))
        wait_s = retry_after_s(response.headers.get("retry-after", ""), now)
        # before it is shortened, which could leave half a secret that nobody recognises
        raise _http_fault(status, address, shorten(redaction.clean(told, cut=not complete)), wait_s)
    if status >= 300:
        target = shorten(redaction.clean(response.headers.get("location", "nowhere")), 200)
        raise failure(f"{address} redirects to {target}; the tool must be registered with its real address")
    body, complete = await _read(response, limit)
    if not complete:
        # From here on the service has agreed to the request: whatever is wrong with its answer, the effect is there.
        raise failure(
            f"the result of {address} is larger than the limit of {limit:,} bytes; ask for less", may_have_run=True
        )
    return _readable(body, response.headers.get("content-type", ""), address)


async def _read(response: httpx2.Response, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the decoded body, and whether that is all of it."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            return bytes(body[:limit]), False
    return bytes(body), True


def _readable(body: bytes, content_type: str, address: str) -> str:
    if not body.strip():
        return NO_CONTENT
    try:
        return json.dumps(json.loads(body, parse_constant=_refuse_constant), ensure_ascii=False)
    except (ValueError, RecursionError) as e:
        if content_type.startswith("text/plain"):
            return body.decode("utf-8", "replace")
        kind = content_type.partition(";")[0] or "an answer without content type"
        raise failure(
            f"{address} answered {kind} that is not JSON, so its result cannot be read", may_have_run=True
        ) from e


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _http_fault(status: int, address: str, message: str, wait_s: float | None) -> CallFault:
    told = f"{address} answered {status}"
    if status >= 500:
        return failure(
            f"{told}: {message}" if message else f"{told}: the service broke",
            transient=status in _PASSING,
            retry_after_s=wait_s,
            may_have_run=status in _FROM_A_GATEWAY,
        )
    if status == 408:
        return CallFault(CallStatus.TIMEOUT, f"{told}: it waited too long for the request")
    if status in _NOT_THE_ARGUMENTS:
        asked = f"; it asks to be left alone for {wait_s:.0f} s" if wait_s else ""
        return failure(
            f"{told}: {_NOT_THE_ARGUMENTS[status]}{asked}" + (f" ({message})" if message else ""),
            transient=status in _PASSING,
            retry_after_s=wait_s,
        )
    return refusal(f"{told}: {message}" if message else f"{told} without saying why; check the arguments")


def retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds from now by a Retry-After header, delay or date (RFC 9110, 10.2.3); None: it says nothing readable."""
    if value.strip().isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)


def error_message(body: bytes, content_type: str) -> str:
    """What an error body says, in whichever of the common shapes it says it; empty when it says nothing readable."""
    text = body.decode("utf-8", "replace").strip()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "" if "html" in content_type or text.startswith("<") else text
    return _message_in(data) or text


def _message_in(data: Any, depth: int = 0) -> str:
    if isinstance(data, str):
        return data
    if depth > 3:
        return ""
    if isinstance(data, dict):
        if isinstance(data.get("msg"), str) and isinstance(data.get("loc"), list):  # FastAPI's validation errors
            return f"{'.'.join(str(part) for part in data['loc'][1:])}: {data['msg']}"
        for key in ("message", "detail", "error", "errors", "error_description", "title"):
            found = _message_in(data.get(key), depth + 1)
            if found:
                return found
    if isinstance(data, list):
        return "; ".join(filter(None, (_message_in(part, depth + 1) for part in data[:5])))
    return ""


def _reason(error: Exception, redaction: Redaction) -> str:
    return shorten(redaction.clean(str(error)), 200) or type(error).__name__
