"""LiteLLM, in an environment of its own, against a real server."""

from typing import Any

import pytest

from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute
from tests.runtime.client_runs import python
from tests.runtime.served_app import served_app

FORECAST = execute(("forecast", {"city": "Oslo"}))
SCRIPT = [
    "Hello there, all is well.",
    "Hello there, all is well today.",
    *(FORECAST, "Rain."),
    FORECAST,
    "Hello, response.",
    "A response in several pieces.",
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> dict[str, Any]:
    with served_app(tmp_path_factory.mktemp("home"), renderer, SCRIPT) as server:
        seen = python("litellm", server.url)
        assert list(server.policy.script) == []
    return seen


def test_chat_plain_and_streamed(found: dict[str, Any]) -> None:
    assert found["chat"] == {"text": "Hello there, all is well.", "counted": True}
    assert found["stream"] == "Hello there, all is well today."


def test_tools_run_in_a_loop_and_are_streamed(found: dict[str, Any]) -> None:
    assert found["loop"] == ["tool_calls", "Rain."]
    assert found["streamed_call"] == {"city": "Oslo"}


def test_errors_have_their_classes(found: dict[str, Any]) -> None:
    assert found["errors"] == ["NotFoundError", "BadRequestError"]


def test_responses_plain_and_streamed(found: dict[str, Any]) -> None:
    assert found["response"] == "Hello, response."
    assert found["response_stream"] == "A response in several pieces."
