"""Tools that ask the user in the middle of a call, through the whole server: the turn asks, the next one goes on."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.prompt import Renderer
from runtime.traces.schema import VerdictOutcome
from runtime.verify.verdict import judge_thread
from tests.runtime.agent_parts import execute
from tests.runtime.served_app import ServedApp, served_app

SERVER = Path(__file__).parents[1] / "tools" / "asking_server.py"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def server(tmp_path: Path, log: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, executor=None, allow_mcp_stdio=True) as served:
        described = {"command": sys.executable, "args": [str(SERVER), str(log)]}
        made = served.http.post("/v1/tools", json={"mcp": described})
        assert made.status_code == 201, made.text
        yield served


def say(server: ServedApp, text: str) -> dict:
    response = server.http.post(
        "/v1/chat/completions",
        json={"model": "hone", "messages": [{"role": "user", "content": text}]},
        headers={"x-hone-thread": "table"},
    )
    assert response.status_code == 200, response.text
    return response.json()


def book(server: ServedApp) -> dict:
    """The turn in which the tool asks; booking changes something, so it was approved first."""
    waiting = say(server, "book table 7")
    assert waiting["hone"]["approval"]["tool"] == "book"
    return say(server, "approve")


def test_a_tools_question_is_a_clarify_and_the_answer_goes_back_to_the_call(server: ServedApp, log: Path) -> None:
    server.policy.script = [execute(("book", {"table": "table 7"})), "It is booked."]
    asked = book(server)
    assert asked["choices"][0]["message"]["content"] == "For how many people?"
    assert asked["hone"]["decision"] == "clarify"
    assert asked["hone"]["missing"] == [{"tool": "book", "parameter": "people"}]
    assert asked["hone"]["steps"][0]["calls"][0]["status"] == "input_required"
    assert log.read_text() == ""
    done = say(server, "4")
    assert done["choices"][0]["message"]["content"] == "It is booked."
    (went_on,) = done["hone"]["steps"][0]["calls"]
    assert (went_on["status"], went_on["result"]) == ("ok", "table 7 is booked for 4")
    assert log.read_text() == "booked table 7\n"
    assert "asked" not in server.policy.prompts[-1]


def test_a_message_that_answers_nothing_is_an_ordinary_one(server: ServedApp, log: Path) -> None:
    server.policy.script = [execute(("book", {"table": "table 7"})), "It is sunny."]
    book(server)
    reply = say(server, "how is the weather?")
    assert reply["choices"][0]["message"]["content"] == "It is sunny."
    assert [step["decision"] for step in reply["hone"]["steps"]] == ["answer"]
    assert log.read_text() == ""


def test_a_call_that_goes_on_is_on_record_and_not_learnt_from(server: ServedApp) -> None:
    server.policy.script = [execute(("book", {"table": "table 7"})), "It is booked."]
    book(server)
    done = say(server, "4")
    trace = server.services.traces.get(done["hone"]["trace"])
    went_on = trace.spans[0]
    assert went_on.outcomes[0].content == "table 7 is booked for 4"
    (verdict, _) = judge_thread([trace], now=trace.created_at, window_s=0, final=True)
    assert (verdict.span_id, verdict.outcome) == (went_on.id, VerdictOutcome.UNVERIFIED)
