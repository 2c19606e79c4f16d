"""One line for each request, under an id, and no user's words in any line."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from runtime.api.request_log import PROBES
from runtime.errors import PolicyUnavailable, StoreError, told
from runtime.prompt import Renderer
from runtime.settings import Settings
from runtime.telemetry.logs import configure_logging
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import ServedApp, served_app
from tools.spec import CallStatus

CANARY = "canary4711"
WITHIN_S = 20.0
CALL = execute(("weather", {"city": CANARY}))


class Lines:
    """What was written, line by line, as a collector reads it; what fixtures print beside it is left out."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.text = ""

    def read(self) -> list[dict[str, Any]]:
        self.text += self._capsys.readouterr().err
        return [json.loads(line) for line in self.text.splitlines() if line.startswith("{")]

    def of(self, event: str) -> list[dict[str, Any]]:
        """Waits for the first: a client has its answer before the line about it is written."""
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            if found := [line for line in self.read() if line["event"] == event]:
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {event!r} was logged")


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Lines]:
    """Debug level, JSON: standard error is no terminal here."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logging(Settings(home=tmp_path, log_level="debug"))
    yield Lines(capsys)
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def server(lines: Lines, tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    results = {"weather": (CallStatus.FAILED, f"no {CANARY}")}
    with served_app(tmp_path, renderer, tools=[tool()], results=results) as served:
        yield served


def test_a_turn_is_one_line_that_ties_request_trace_and_thread_together(server: ServedApp, lines: Lines) -> None:
    server.policy.script = ["Hi."]
    reply = server.http.post(
        "/v1/chat/completions",
        json={"messages": [{"role": "user", "content": "hi"}]},
        headers={"x-request-id": "mine-1", "x-hone-thread": "thread_a"},
    )
    (line,) = lines.of("request")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert line["request_id"] == reply.headers["x-request-id"] == "mine-1"
    assert line["trace"] == reply.headers["x-hone-trace"]
    assert line["thread"] == reply.headers["x-hone-thread"] == "thread_a"
    assert line["ms"] > 0
    (turn,) = lines.of("turn")
    assert (turn["trace"], turn["request_id"]) == (line["trace"], "mine-1")


@pytest.mark.parametrize("given", ["", "two words", "x" * 200, 'a"b', "naïve".encode("latin-1").decode("latin-1")])
def test_a_request_id_that_is_no_id_is_replaced(server: ServedApp, given: str) -> None:
    reply = server.http.get("/livez", headers=[(b"x-request-id", given.encode("latin-1"))])
    assert reply.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (f"/v1/traces/{CANARY}", "/v1/traces/{trace_id}"),
        (f"/{CANARY}?q={CANARY}", "none"),
        (f"/static/{CANARY}.css", "/static"),
    ],
)
def test_the_route_is_told_and_not_the_path(server: ServedApp, lines: Lines, path: str, route: str) -> None:
    assert server.http.get(path).status_code == 404
    (line,) = lines.of("request")
    assert (line["route"], line["status"]) == (route, 404)
    assert CANARY not in lines.text


def test_probes_are_heard_at_debug_only(server: ServedApp, lines: Lines) -> None:
    for path in PROBES:
        server.http.get(path)
    heard = {line["route"]: line["level"] for line in lines.of("request")}
    assert heard.items() <= dict.fromkeys(PROBES, "debug").items()


def test_a_stream_is_told_when_it_is_over(server: ServedApp, lines: Lines) -> None:
    server.policy.script = ["Hi."]
    assert server.chat("hi", stream=True).text.endswith("data: [DONE]\n\n")
    (line,) = lines.of("request")
    assert (line["status"], line["trace"].startswith("trace_")) == (200, True)


def test_a_request_that_breaks_has_an_id_an_envelope_and_one_traceback_without_words(
    server: ServedApp, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError(CANARY) from ValueError(CANARY)

    monkeypatch.setattr(server.services.traces, "get", broken)
    reply = server.http.get(f"/v1/traces/{CANARY}", headers={"x-request-id": "mine-2"})
    assert (reply.status_code, reply.headers["x-request-id"]) == (500, "mine-2")
    assert reply.json()["error"]["code"] == "internal_error"
    assert lines.of("request")[0]["status"] == 500
    (line,) = [line for line in lines.read() if "exception" in line]
    assert (line["event"], line["request_id"]) == ("request failed", "mine-2")
    assert line["exception"].splitlines()[-1] == "KeyError"
    assert "ValueError\nwhich led to" in line["exception"]
    assert "in broken" in line["exception"]
    assert CANARY not in lines.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        [CALL, f"It is {CANARY}."],
        [f"<tool_call>{CANARY}", f"<tool_call>{CANARY}"],
        [execute(("weather", {"town": CANARY})), f"{CANARY}?"],
        [CALL, RuntimeError(CANARY)],
        [RuntimeError(CANARY)],
    ],
    ids=["called", "unreadable", "bad arguments", "broke later", "broke"],
)
def test_no_words_of_a_turn_reach_the_log(server: ServedApp, lines: Lines, script: list[Any], stream: bool) -> None:
    server.policy.script = script
    server.chat(f"what of {CANARY}?", stream=stream, metadata={"tools": "weather"})
    assert lines.of("request")
    assert CANARY not in lines.text


@pytest.mark.parametrize(
    "body",
    [
        {"model": CANARY, "messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": CANARY, "content": CANARY}]},
        {"messages": [{"role": "user", "content": "hi"}], "metadata": {"tools": CANARY}},
        {"messages": [{"role": "user", "content": CANARY * 5000}]},
    ],
)
def test_no_words_of_a_request_that_is_refused_reach_the_log(
    server: ServedApp, lines: Lines, body: dict[str, Any]
) -> None:
    assert server.http.post("/v1/chat/completions", json=body).status_code in (400, 404)
    assert lines.of("request")
    assert CANARY not in lines.text


def test_libraries_log_through_the_same_pipe(lines: Lines) -> None:
    # uvicorn's own are taken over by whatever server another test runs; tests/hone sees those of a real process
    logging.getLogger("a_library.sockets").error("bad %s", "socket")
    logging.getLogger("alembic").debug("not heard")
    (line,) = lines.read()
    assert (line["event"], line["level"], line["logger"]) == ("bad socket", "error", "a_library.sockets")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(("chosen", "is_json"), [("text", False), ("json", True), (None, True)])
def test_the_format_is_chosen_or_follows_from_where_it_goes(
    lines: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str], chosen: Any, is_json: bool
) -> None:
    configure_logging(Settings(home=tmp_path, log_format=chosen))
    structlog.get_logger("runtime.test").info("said", n=1)
    written = capsys.readouterr().err
    assert written.startswith("{") is is_json
    assert "said" in written


def test_errors_of_the_server_itself_are_told_in_full() -> None:
    assert told(PolicyUnavailable("no answer from a")) == "PolicyUnavailable: no answer from a"
    assert told(StoreError("full")) == "StoreError: full"
    assert told(ValueError(CANARY)) == "ValueError"
