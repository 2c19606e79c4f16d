"""LangChain's `ChatOpenAI`, in an environment of its own, against a real server."""

from typing import Any

import pytest

from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute, refuse
from tests.runtime.client_runs import python
from tests.runtime.served_app import served_app

FORECAST = execute(("forecast", {"city": "Oslo"}))
SCRIPT = [
    "Hello there, all is well.",
    "Hello there, all is well today.",
    *(FORECAST, "Rain in Oslo."),
    execute(("forecast", {"city": "Bergen"})),
    refuse("No tool can do that."),
    "Hello, response.",
    "A response in several pieces.",
    *(FORECAST, "Rain again."),
    *(FORECAST, "Rain once more."),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> tuple[dict[str, Any], list[str]]:
    """What the client found, and the prompts of the policy."""
    with served_app(tmp_path_factory.mktemp("home"), renderer, SCRIPT) as server:
        found = python("langchain", server.url)
        assert list(server.policy.script) == []
        return found, server.policy.prompts


def test_chat_plain_and_streamed(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    assert found["chat"] == {"text": "Hello there, all is well.", "finish": "stop", "counted": True}
    assert found["stream"] == {"text": "Hello there, all is well today.", "counted": True}


def test_bound_tools_run_in_a_loop_and_are_streamed(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, prompts = seen
    assert found["loop"] == ["forecast", "Rain in Oslo."]
    assert "rain in Oslo" in prompts[3]
    assert found["streamed_calls"] == [{"name": "forecast", "args": {"city": "Bergen"}}]


def test_a_refusal_and_a_refused_field_arrive(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, _ = seen
    assert found["refusal"] == "No tool can do that."
    assert found["refused_field"] == "n"


def test_its_responses_mode_works_alike(seen: tuple[dict[str, Any], list[str]]) -> None:
    found, prompts = seen
    assert found["response"] == {"text": "Hello, response.", "id": "resp_"}
    assert found["response_stream"] == {"text": "A response in several pieces.", "counted": True}
    assert found["response_loop"] == ["forecast", "Rain again."]
    assert found["chained_loop"] == ["forecast", "Rain once more."]
    assert all("forecast for Oslo" in prompt and "rain in Oslo" in prompt for prompt in (prompts[9], prompts[11]))
