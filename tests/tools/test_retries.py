"""Calls that are run again, and those that are not, against a service that fails as a test says."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.tools.raw_server import RawServer
from tests.tools.serving import free_port, serving, to_this_machine
from tools.execution import Executor
from tools.http_calls import retry_after_s
from tools.outcome import CallResult
from tools.retries import ATTEMPTS
from tools.spec import CallStatus, HttpBackend, SideEffect, ToolSpec

NOW = datetime(2026, 5, 3, 12, 0, tzinfo=UTC)


class Moody:
    """Answers with one status after the other, then with 200; keeps the keys that it saw."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self._statuses = list(statuses)
        self._headers = headers or {}
        self.keys: list[str | None] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/", self._answer, methods=["GET", "POST"])])

    async def _answer(self, request: Request) -> Response:
        self.keys.append(request.headers.get("idempotency-key"))
        status = self._statuses.pop(0) if self._statuses else 200
        return JSONResponse({"said": status}, status_code=status, headers=self._headers if status != 200 else {})


@contextmanager
def moody(*statuses: int, headers: dict[str, str] | None = None) -> Iterator[tuple[Moody, str]]:
    service = Moody(*statuses, headers=headers)
    with serving(service.app()) as url:
        yield service, url


async def called(url: str, side_effect: SideEffect, *, timeout_s: float = 10.0) -> tuple[CallResult, list[float]]:
    """The outcome and the waits, none of which is really waited."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    executor = Executor(outbound=to_this_machine(), sleep=sleep)
    spec = ToolSpec(
        name="order",
        parameters={"type": "object"},
        backend=HttpBackend(url=url),
        side_effect=side_effect,
        timeout_s=timeout_s,
    )
    try:
        return await executor.run(spec, {}, call_id="c1"), waits
    finally:
        await executor.close()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
@pytest.mark.parametrize("side_effect", [SideEffect.READ, SideEffect.IDEMPOTENT])
async def test_what_passes_is_tried_again_until_it_has_passed(status: int, side_effect: SideEffect) -> None:
    with moody(status, status) as (service, url):
        result, waits = await called(url, side_effect)
    assert (result.status, result.content) == (CallStatus.OK, '{"said": 200}')
    assert service.keys == ["c1" if side_effect is SideEffect.IDEMPOTENT else None] * 3
    assert len(waits) == 2
    assert waits[1] <= 0.2


@pytest.mark.parametrize("status", [400, 401, 404, 409, 500, 501])
async def test_what_does_not_pass_is_not_tried_again(status: int) -> None:
    with moody(status) as (service, url):
        result, waits = await called(url, SideEffect.IDEMPOTENT)
    assert result.status in (CallStatus.REJECTED, CallStatus.FAILED)
    assert (len(service.keys), waits) == (1, [])


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_write_is_never_tried_again(status: int) -> None:
    with moody(status) as (service, url):
        result, waits = await called(url, SideEffect.WRITE)
    assert (len(service.keys), waits) == (1, [])
    assert result.status is (CallStatus.UNKNOWN if status in (502, 504) else CallStatus.FAILED)


async def test_a_service_that_stays_down_is_given_up_with_its_last_words() -> None:
    with moody(*[503] * 9) as (service, url):
        result, waits = await called(url, SideEffect.READ)
    assert result.status is CallStatus.FAILED
    assert "answered 503" in result.content
    assert len(service.keys) == ATTEMPTS
    assert len(waits) == ATTEMPTS - 1


async def test_a_service_that_cannot_be_reached_is_tried_again_and_a_write_to_it_has_failed() -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    result, waits = await called(url, SideEffect.READ)
    assert (result.status, len(waits)) == (CallStatus.FAILED, ATTEMPTS - 1)
    result, waits = await called(url, SideEffect.WRITE)
    assert (result.status, len(waits)) == (CallStatus.FAILED, 0)


async def test_a_write_that_broke_off_on_its_way_may_have_happened() -> None:
    with closing(RawServer(lambda head: ())) as server:
        result, _ = await called(f"http://127.0.0.1:{server.port}/", SideEffect.WRITE)
    assert result.status is CallStatus.UNKNOWN
    told = json.loads(result.content)
    assert told["error"] == "unknown"
    assert "do not call it again" in told["message"]


@pytest.mark.parametrize("asked", ["3", "Sun, 03 May 2099 12:00:00 GMT"])
async def test_retry_after_is_honoured_or_the_fault_told_at_once(asked: str) -> None:
    with moody(429, headers={"retry-after": asked}) as (service, url):
        result, waits = await called(url, SideEffect.READ)
    if asked == "3":
        assert result.status is CallStatus.OK
        assert 3.0 <= waits[0] <= 3.1
    else:
        assert result.status is CallStatus.FAILED
        assert "asks to be left alone" in result.content
        assert (len(service.keys), waits) == (1, [])


async def test_no_wait_outlasts_the_time_limit() -> None:
    with moody(503, headers={"retry-after": "3"}) as (service, url):
        result, waits = await called(url, SideEffect.READ, timeout_s=2.0)
    assert result.status is CallStatus.FAILED
    assert (len(service.keys), waits) == (1, [])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sun, 03 May 2026 12:00:30 GMT", 30.0),
        ("Sun, 03 May 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
    ],
)
def test_retry_after_is_read_as_a_delay_or_a_date(header: str, seconds: Any) -> None:
    assert retry_after_s(header, NOW) == seconds
