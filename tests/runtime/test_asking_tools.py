"""Tools that ask the user in the middle of a call, through the whole server: the turn asks, the next one goes on."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from runtime.prompt import Renderer
from runtime.traces.schema import VerdictOutcome
from runtime.verify.verdict import judge_thread
from tests.runtime.agent_parts import execute
from tests.runtime.served_app import ServedApp, served_app
from tools.spec import ApprovalRule

SERVER = Path(__file__).parents[1] / "tools" / "asking_server.py"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def server(tmp_path: Path, log: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with restaurant(tmp_path, renderer) as served:
        described = {"command": sys.executable, "args": [str(SERVER), str(log)]}
        made = served.http.post("/v1/tools", json={"mcp": described})
        assert made.status_code == 201, made.text
        yield served


def restaurant(home: Path, renderer: Renderer) -> AbstractContextManager[ServedApp]:
    return served_app(home, renderer, executor=None, allow_mcp_stdio=True)


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


def test_an_approved_call_that_is_gone_is_not_made_again_without_another_approval(
    server: ServedApp, tmp_path: Path, renderer: Renderer
) -> None:
    find = next(spec for spec in server.services.catalogue.list() if spec.name == "find")
    server.services.catalogue.add(find.model_copy(update={"approval": ApprovalRule.ALWAYS}), replace=True)
    server.policy.script = [execute(("find", {"area": "outside"}))]
    say(server, "find a table outside")
    assert say(server, "approve")["hone"]["steps"][0]["calls"][0]["status"] == "input_required"
    with restaurant(tmp_path, renderer) as other:  # which knows nothing of the call that waits in the first
        other.policy.script = ["I could not find out."]
        (went_on,) = say(other, "4")["hone"]["steps"][0]["calls"]
    assert (went_on["tool"], went_on["status"]) == ("find", "failed")
    assert "no longer waits for the answer" in went_on["result"]


def test_a_call_that_reads_and_is_gone_is_made_again_with_the_answer(
    server: ServedApp, tmp_path: Path, renderer: Renderer
) -> None:
    server.policy.script = [execute(("find", {"area": "outside"}))]
    assert say(server, "find a table outside")["hone"]["steps"][0]["calls"][0]["status"] == "input_required"
    with restaurant(tmp_path, renderer) as other:
        asked_again = say(other, "4")
    assert asked_again["choices"][0]["message"]["content"] == "In what name?"


def test_whoever_registers_a_servers_tools_may_waive_their_approval(
    tmp_path: Path, log: Path, renderer: Renderer
) -> None:
    described = {"command": sys.executable, "args": [str(SERVER), str(log)]}
    with restaurant(tmp_path, renderer) as server:
        refused = server.http.post("/v1/tools", json={"mcp": {**described, "approval": "never"}})
        made = server.http.post("/v1/tools", json={"mcp": {**described, "approval": "waived"}})
        assert made.status_code == 201, made.text
        server.policy.script = [execute(("book", {"table": "table 7"}))]
        assert say(server, "book table 7")["choices"][0]["message"]["content"] == "For how many people?"
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "mcp.approval")
    assert "by_effect, always, waived" in refused.json()["error"]["message"]
