"""OpenAI's JavaScript client, as installed from npm, against a real server."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import PolicyUnavailable
from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute, tool
from tests.runtime.client_runs import javascript
from tests.runtime.served_app import served_app

FORECAST = execute(("forecast", {"city": "Oslo"}))
SCRIPT = [
    "Hello there, all is well.",
    "Hello there, all is well today.",
    *(FORECAST, "Rain in Oslo."),
    execute(("forecast", {"city": "Bergen"})),
    *(PolicyUnavailable("gone"), "Back again."),
    *(execute(("weather", {"city": "Oslo"})), PolicyUnavailable("gone after a call")),
    *("Hello, response.", "Second response.", "A response in several pieces."),
    FORECAST,
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> dict[str, Any]:
    home: Path = tmp_path_factory.mktemp("home")
    with served_app(home, renderer, SCRIPT, tools=[tool()], results={"weather": "sunny"}) as server:
        seen = javascript(server.url)
        assert list(server.policy.script) == [], "each line is said once: nothing was sent twice"
    return seen


def test_models_are_listed(found: dict[str, Any]) -> None:
    assert found["models"] == ["hone", "hone@incumbent", "hone@base"]


def test_chat_plain_and_streamed(found: dict[str, Any]) -> None:
    assert found["chat"] == {"text": "Hello there, all is well.", "decision": "answer", "request": True}
    assert found["stream"] == {
        "ids": 1,
        "text": "Hello there, all is well today.",
        "last": {"choices": [], "counted": True},
    }


def test_the_loop_over_tools_runs_and_a_streamed_call_is_put_together(found: dict[str, Any]) -> None:
    assert found["tools"] == "Rain in Oslo."
    assert found["streamedCall"]["name"] == "forecast"
    assert json.loads(found["streamedCall"]["arguments"]) == {"city": "Bergen"}


def test_errors_have_their_classes(found: dict[str, Any]) -> None:
    unknown = {"kind": "NotFoundError", "status": 404, "code": "model_not_found", "param": "model"}
    assert found["unknownModel"] == unknown
    assert (found["refusedField"]["kind"], found["refusedField"]["param"]) == ("BadRequestError", "n")
    missing = found["unknownResponse"]
    assert (missing["kind"], missing["param"]) == ("NotFoundError", "previous_response_id")


def test_a_turn_is_sent_again_only_where_nothing_was_done(found: dict[str, Any]) -> None:
    assert found["retried"] == "Back again."
    assert (found["notRetried"]["status"], found["notRetried"]["code"]) == (503, "policy_unavailable")


def test_responses_plain_streamed_and_gone_on_from(found: dict[str, Any]) -> None:
    assert found["response"] == {"text": "Hello, response.", "status": "completed"}
    assert found["next"] == "Second response."
    assert found["responseStream"] == {"text": "A response in several pieces.", "last": "response.completed"}
    assert found["responseCall"]["name"] == "forecast"
    assert json.loads(found["responseCall"]["arguments"]) == {"city": "Oslo"}
