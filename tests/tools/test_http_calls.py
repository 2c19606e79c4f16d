"""HTTP tools against a real service."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI

from tests.tools.http_service import build_service
from tests.tools.serving import free_port, serving, to_this_machine
from tools.execution import Executor
from tools.http_calls import error_message, query_values
from tools.spec import CallStatus, HttpBackend, SideEffect, ToolSpec

PARAMETERS = {"type": "object", "properties": {"drink": {"type": "string"}, "cups": {"type": "integer"}}}


@pytest.fixture(scope="module")
def service() -> FastAPI:
    return build_service()


@pytest.fixture(scope="module")
def url(service: FastAPI) -> Iterator[str]:
    with serving(service) as base:
        yield base


@pytest_asyncio.fixture
async def executor() -> AsyncIterator[Executor]:
    executor = Executor(outbound=to_this_machine())
    yield executor
    await executor.close()


def tool(url: str, *, method: Any = "POST", headers: dict[str, str] | None = None, **changes: Any) -> ToolSpec:
    backend = HttpBackend(url=url, method=method, headers=headers or {})
    return ToolSpec(name="order", parameters=PARAMETERS, backend=backend, **changes)


async def test_arguments_go_as_json_and_the_answer_comes_back(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/orders"), {"drink": "thé", "cups": 2}, call_id="c1")
    assert result.status is CallStatus.OK
    assert result.content == '{"drink": "thé", "cups": 2, "note": "à bientôt"}'
    assert result.latency_ms > 0


async def test_a_get_carries_the_arguments_in_the_query_beside_the_urls_own(executor: Executor, url: str) -> None:
    spec = tool(f"{url}/menu?lang=fr", method="GET").model_copy(update={"parameters": {"type": "object"}})
    result = await executor.run(spec, {"q": "a b&c", "tags": ["x", "y"], "hot": True, "none": None}, call_id="c1")
    assert json.loads(result.content)["query"] == [
        ["lang", "fr"],
        ["q", "a b&c"],
        ["tags", "x"],
        ["tags", "y"],
        ["hot", "true"],
    ]


async def test_headers_are_sent_and_a_writing_call_carries_its_key(
    executor: Executor, url: str, service: FastAPI
) -> None:
    spec = tool(f"{url}/orders", headers={"x-token": "s3"}, side_effect=SideEffect.WRITE)
    await executor.run(spec, {"drink": "tea"}, call_id="call-7")
    await executor.run(tool(f"{url}/orders"), {"drink": "tea"}, call_id="call-8")
    writing, reading = service.state.headers[-2:]
    assert writing["x-token"] == "s3"
    assert writing["idempotency-key"] == "call-7"
    assert "idempotency-key" not in reading


async def test_arguments_that_break_the_schema_never_leave(executor: Executor) -> None:
    result = await executor.run(tool("http://127.0.0.1:9/"), {"cups": "two"}, call_id="c1")
    assert result.status is CallStatus.BAD_ARGUMENTS
    assert json.loads(result.content) == {
        "error": "bad_arguments",
        "message": 'cups: "two" is not of type integer',
    }


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
async def test_a_4xx_is_a_rejection_with_the_services_words(executor: Executor, url: str, status: int) -> None:
    result = await executor.run(tool(f"{url}/status/{status}"), {}, call_id="c1")
    assert result.status is CallStatus.REJECTED
    assert f"answered {status}: said {status}" in result.content


async def test_fastapis_validation_error_names_the_parameter(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/orders"), {}, call_id="c1")
    assert result.status is CallStatus.REJECTED
    assert "drink: Field required" in result.content


@pytest.mark.parametrize("status", [401, 429, 500, 503])
async def test_what_arguments_cannot_change_is_a_failure(executor: Executor, url: str, status: int) -> None:
    result = await executor.run(tool(f"{url}/status/{status}"), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert f"said {status}" in result.content


async def test_a_page_in_place_of_json_is_a_failure(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/page"), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "text/html that is not JSON" in result.content


async def test_an_error_page_is_not_shown_as_markup(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/broken-page"), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "answered 502" in result.content
    assert "<html>" not in result.content


async def test_plain_text_and_an_empty_answer_are_results(executor: Executor, url: str) -> None:
    assert (await executor.run(tool(f"{url}/plain"), {}, call_id="c1")).content == "two cups left"
    empty = await executor.run(tool(f"{url}/empty"), {}, call_id="c1")
    assert (empty.status, empty.content) == (CallStatus.OK, "(no content)")


async def test_characters_that_no_database_takes_are_replaced(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/odd"), {}, call_id="c1")
    assert result.status is CallStatus.OK
    assert result.content.encode()
    assert json.loads(result.content)["number"] == 1


async def test_nan_is_not_json(executor: Executor, url: str) -> None:
    assert (await executor.run(tool(f"{url}/nan"), {}, call_id="c1")).status is CallStatus.FAILED


async def test_a_redirect_is_named_and_not_followed(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/elsewhere"), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "redirects to /orders" in result.content


async def test_a_large_answer_is_a_failure_naming_the_limit(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/large"), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "larger than the limit of 65,536 bytes" in result.content


async def test_an_answer_is_cut_off_at_the_limit_not_read_to_its_end(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/endless"), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "larger than the limit" in result.content


async def test_a_hanging_service_runs_out_of_time(executor: Executor, url: str) -> None:
    result = await executor.run(tool(f"{url}/hang", timeout_s=0.2), {}, call_id="c1")
    assert result.status is CallStatus.TIMEOUT
    assert "no answer within 0.2 s" in result.content
    assert 200 <= result.latency_ms < 9_000


async def test_a_service_that_is_down_is_named_without_its_secrets(executor: Executor) -> None:
    address = f"127.0.0.1:{free_port()}"
    result = await executor.run(tool(f"http://me:pw@{address}/orders?key=s3cret"), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert f"http://{address}/orders" in result.content
    assert "pw" not in result.content
    assert "s3cret" not in result.content


async def test_a_url_that_is_none_is_a_failure(executor: Executor) -> None:
    for address in ("gopher://x/", "http://", "http://[::1", "nonsense"):
        assert (await executor.run(tool(address), {}, call_id="c1")).status is CallStatus.FAILED


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"message": "no such city"}', "no such city"),
        ('{"error": "bad"}', "bad"),
        ('{"detail": [{"loc": ["body", "day"], "msg": "too late"}, {"loc": ["body", "n"], "msg": "odd"}]}',
         "day: too late; n: odd"),
        ('{"errors": [{"message": "first"}, "second"]}', "first; second"),
        ('{"code": 7}', '{"code": 7}'),
        ("just words", "just words"),
        ("<html>no</html>", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_an_errors_message_is_found_in_the_common_shapes(body: str, message: str) -> None:
    assert error_message(body.encode(), "text/plain") == message


def test_an_object_goes_into_the_query_as_json() -> None:
    assert query_values({"where": {"a": 1}, "n": 1.5, "empty": []}) == {
        "where": ['{"a": 1}'],
        "n": ["1.5"],
        "empty": [],
    }
