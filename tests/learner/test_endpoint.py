"""Policies behind a URL: the requests that they get, how replies are read, and endpoints that fail."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from learner.endpoint import EndpointDecider, read_reply, wire_names
from learner.evaluation import Unmeasured, measure
from learner.figures import RowResult
from learner.row_forms import Fault
from learner.rows import Row
from learner.settings import EvaluationSettings
from runtime.errors import PolicyUnavailable
from tests.learner.case_rows import TOOLS, mixed_rows, row, tool
from tests.tools.serving import serving

CALL = {"name": "weather", "arguments": {"city": "Oslo"}}
SETTINGS = EvaluationSettings(resamples=200, concurrency=4)
NAMES = {t["function"]["name"]: t["function"]["name"] for t in TOOLS}


def reply(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop"}]}


def called(name: str, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": text}}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (reply(tool_calls=[called("weather", {"city": "Oslo"})]), "execute"),
        (reply(tool_calls=[called("ask_user", {"missing": [], "question": "Where?"})]), "clarify"),
        (reply(tool_calls=[called("decline", {"category": "unsafe", "reason": "no"})]), "refuse"),
        (reply(tool_calls=[called("nothing", {})]), "invalid"),
        (reply(tool_calls=[called("weather", "{oops")]), "invalid"),
        (reply(content='<tool_call>{"name": "timer", "arguments": {}}</tool_call>'), "execute"),
        (reply(refusal="Not that."), "refuse"),
        (reply(content="Which city?"), "clarify"),
        (reply(content="I'm sorry, I can't do that."), "refuse"),
        (reply(content="Hello there."), "answer"),
        (reply(content=""), "invalid"),
        (reply(content="Tell me more.") | {"hone": {"decision": "clarify", "missing": []}}, "clarify"),
        (reply(refusal="No tool.") | {"hone": {"decision": "refuse", "category": "unavailable"}}, "refuse"),
        (reply(content="Sorry?") | {"hone": {"decision": "invalid"}}, "invalid"),
        (reply(content="Where to?") | {"hone": {"decision": "answer"}}, "answer"),
    ],
)
def test_each_form_of_reply_is_one_decision(body: dict[str, Any], kind: str) -> None:
    assert read_reply(body, row("a", decision="refuse"), NAMES).decision.kind.value == kind


@pytest.mark.parametrize(
    ("told", "confidence"), [(0.25, 0.25), (1, 1.0), (0, 0.0), (None, None), ("0.5", None), (7, None), (True, None)]
)
def test_what_an_endpoint_says_of_its_confidence_is_taken_where_it_is_a_probability(
    told: Any, confidence: float | None
) -> None:
    body = reply(content="Where?") | {"hone": {"decision": "clarify", "missing": [], "confidence": told}}
    assert read_reply(body, row("a", decision="refuse"), NAMES).confidence == confidence
    assert read_reply(reply(content="Where?"), row("a", decision="refuse"), NAMES).confidence is None


def test_odd_names_travel_under_allowed_ones_and_come_back() -> None:
    names = wire_names(["math.factorial", "math_factorial", "x" * 80, "x" * 90])
    assert len(set(names.values())) == 4
    assert all(len(wire) <= 64 and wire.replace("_", "").isalnum() for wire in names.values())
    odd = row("a", tools=[tool("math.factorial")], decision="execute", tool_calls=[{"name": "math.factorial"}])
    found = read_reply(reply(tool_calls=[called("math_factorial", {})]), odd, {"math_factorial": "math.factorial"})
    assert found.decision.model_dump()["calls"][0]["name"] == "math.factorial"


def endpoint(answer: Callable[[dict[str, Any]], Response | dict[str, Any]], seen: list[dict[str, Any]]) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "them"}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Any:
        body = await request.json()
        seen.append(body)
        return answer(body)

    return app


async def run(app: FastAPI, rows: list[Row], *, retries: int = 0) -> list[Any]:
    with serving(app) as url:
        decider = await EndpointDecider.connect(url, api_key="k", retries=retries, timeout_s=5, settings=SETTINGS)
        try:
            return await measure(decider, rows, settings=SETTINGS)
        finally:
            await decider.close()


async def test_a_row_is_one_request_with_its_tools_and_the_reserved_ones() -> None:
    prompt = (
        {"role": "user", "content": "weather in Oslo, then a timer"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]},
        {"role": "tool", "name": "weather", "content": "rain"},
    )
    asked = row("a", decision="answer").model_copy(update={"prompt": prompt})
    seen: list[dict[str, Any]] = []
    (found,) = await run(endpoint(lambda body: reply(content="Rain."), seen), [asked])
    assert isinstance(found, RowResult)
    assert found.exact
    (body,) = seen
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.0, SETTINGS.max_tokens)
    assert [t["function"]["name"] for t in body["tools"]] == ["weather", "timer", "notes", "ask_user", "decline"]
    call = body["messages"][1]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    assert body["messages"][2] == {"role": "tool", "tool_call_id": call["id"], "content": "rain"}


async def test_rows_whose_requests_fail_are_counted_and_the_others_measured() -> None:
    def answer(body: dict[str, Any]) -> Response | dict[str, Any]:
        said = body["messages"][0]["content"]
        if said.startswith("r1:"):
            return JSONResponse({"error": {"message": "boom"}}, 500)
        if said.startswith("r2:"):
            return Response("<html>proxy</html>", media_type="text/html")
        if said.startswith("r3:"):
            return JSONResponse({"error": {"message": "x", "code": "context_length_exceeded"}}, 400)
        return reply(content="no")

    found = await run(endpoint(answer, []), mixed_rows(6))
    assert {o.id: o.fault for o in found if isinstance(o, Unmeasured)} == {
        "r1": Fault.FAILED,
        "r2": Fault.FAILED,
        "r3": Fault.TOO_LONG,
    }
    assert "HTTP 500" in found[1].detail
    assert sum(isinstance(o, RowResult) for o in found) == 3


async def test_a_busy_endpoint_is_asked_again() -> None:
    seen: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> Response | dict[str, Any]:
        if len(seen) == 1:
            return JSONResponse({"error": {"message": "slow down"}}, 429, headers={"retry-after-ms": "1"})
        return reply(refusal="no")

    (found,) = await run(endpoint(answer, seen), [row("a", decision="refuse")], retries=2)
    assert isinstance(found, RowResult)
    assert found.exact
    assert len(seen) == 2


async def test_an_endpoint_that_answers_nothing_ends_the_run_with_its_reason() -> None:
    app = endpoint(lambda body: JSONResponse({"error": {"message": "no credit"}}, 402), [])
    with pytest.raises(PolicyUnavailable, match=r"none of 3 rows was answered: HTTP 402.*no credit"):
        await run(app, mixed_rows(3))


async def test_an_address_where_nothing_listens_is_named() -> None:
    with pytest.raises(PolicyUnavailable, match=r"http://127\.0\.0\.1:1/v1 does not say"):
        await EndpointDecider.connect("http://127.0.0.1:1", api_key="k", retries=0)
