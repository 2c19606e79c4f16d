"""How `hone serve` ends: turns under way are finished, new ones refused, streams closed, spans sent, and the exit code is 0."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from hone.home import open_home
from tests.runtime.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.runtime.scripted_server import ROOT, scripted_server
from tests.tiny_model import build_tiny_model
from tests.tools.serving import free_port, serving

WITHIN_S = 60.0
ORDER = '<tool_call>{"name": "order", "arguments": {"drink": "tea"}}</tool_call>'
SCHEMA = {"type": "object", "properties": {"drink": {"type": "string"}}, "required": ["drink"]}
BODY = {"model": "hone", "messages": [{"role": "user", "content": "tea"}]}
MODEL_WITHIN_S = 240.0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@dataclass
class SlowShop:
    """Answers an order when it is let."""

    url: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def shop() -> Iterator[SlowShop]:
    shop, service = SlowShop(), FastAPI()

    @service.get("/orders")
    def order() -> dict[str, str]:
        shop.asked.set()
        shop.may_answer.wait(WITHIN_S)
        return {"order": "placed"}

    with serving(service) as url:
        shop.url = url
        yield shop
        shop.may_answer.set()


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as receiver:
        yield receiver


@dataclass
class InFlight:
    """A server with a turn in the middle of a slow call."""

    process: subprocess.Popen[bytes]
    url: str
    turn: Callable[[], httpx2.Response]
    """Waits for its answer."""


@pytest.fixture
def in_flight(
    request: pytest.FixtureRequest, tmp_path: Path, model: Path, shop: SlowShop, receiver: OtlpReceiver
) -> Iterator[InFlight]:
    asked: dict[str, Any] = request.param
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "HONE_SHUTDOWN_GRACE_S": asked["grace_s"]}
    with (
        scripted_server(tmp_path, port, model, [ORDER, "Here is your tea."], environment) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        tool = {"name": "order", "parameters": SCHEMA, "endpoint": {"url": f"{shop.url}/orders", "method": "GET"}}
        assert httpx2.post(f"{url}/v1/tools", json={**tool, "timeout_s": 60}, timeout=30).status_code == 201
        body = {**BODY, "stream": asked.get("stream", False)}
        pending = pool.submit(httpx2.post, f"{url}/v1/chat/completions", json=body, timeout=WITHIN_S)
        assert shop.asked.wait(WITHIN_S)
        yield InFlight(process, url, pending.result)
        shop.may_answer.set()
        process.kill()


def wait_until_refusing(url: str) -> httpx2.Response:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        ready = httpx2.get(f"{url}/readyz", timeout=10)
        if ready.status_code == 503:
            return ready
        time.sleep(0.02)
    raise AssertionError("the server goes on as if nobody had told it to stop")


@pytest.mark.parametrize("in_flight", [{"grace_s": "50"}, {"grace_s": "50", "stream": True}], indirect=True)
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_the_running_turn_is_finished_and_new_ones_are_refused(
    in_flight: InFlight, shop: SlowShop, receiver: OtlpReceiver, sign: signal.Signals
) -> None:
    in_flight.process.send_signal(sign)
    ready = wait_until_refusing(in_flight.url).json()
    assert (ready["status"], ready["missing"]) == ("not ready", ["turns"])
    assert httpx2.get(f"{in_flight.url}/livez", timeout=10).status_code == 200
    refused = httpx2.post(f"{in_flight.url}/v1/chat/completions", json=BODY, timeout=10)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error"]["type"] == "server_error"
    assert refused.json()["error"]["code"] == "stopping"
    shop.may_answer.set()
    answer = in_flight.turn()
    assert answer.status_code == 200
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith("data: [DONE]\n\n")
    assert "tea." in answer.text
    assert in_flight.process.wait(WITHIN_S) == 0
    assert {span.name for span in receiver.spans} == {"invoke_agent hone", "chat scripted", "execute_tool order"}


@pytest.mark.parametrize("in_flight", [{"grace_s": "0.5", "stream": True}], indirect=True)
def test_a_turn_that_takes_longer_than_the_grace_is_told_so_and_recorded(
    in_flight: InFlight, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    in_flight.process.send_signal(signal.SIGTERM)
    events = [part.removeprefix("data: ") for part in in_flight.turn().text.strip().split("\n\n")]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["error"]["code"] == "policy_unavailable"
    assert in_flight.process.wait(WITHIN_S) == 0
    with open_home(home=tmp_path) as here:
        (trace,) = here.traces.list()
    assert (trace.status, "stopping" in (trace.error or "")) == ("failed", True)
    assert receiver.named("invoke_agent")


@pytest.mark.parametrize("in_flight", [{"grace_s": "600"}], indirect=True)
def test_told_twice_it_ends_at_once(in_flight: InFlight) -> None:
    in_flight.process.send_signal(signal.SIGTERM)
    wait_until_refusing(in_flight.url)
    in_flight.process.send_signal(signal.SIGTERM)
    assert in_flight.process.wait(WITHIN_S) == 128 + signal.SIGTERM
    with pytest.raises(httpx2.TransportError):
        in_flight.turn()


def test_the_command_with_a_real_model_ends_with_0_and_all_its_lines_are_json(tmp_path: Path, model: Path) -> None:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "hone",
        "serve",
        "--home",
        str(tmp_path),
        "--model",
        str(model),
        "--port",
        str(port),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HONE_RETRIEVAL": "words", "HONE_MAX_TOKENS": "8"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + MODEL_WITHIN_S
    ready = None
    while ready is None or ready.status_code != 200:
        assert process.poll() is None, "the server died at its start"
        assert time.monotonic() < deadline
        time.sleep(0.1)
        try:
            ready = httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=10)
        except httpx2.TransportError:
            continue
    assert {part["name"] for part in ready.json()["parts"]} >= {
        "database",
        "disk",
        "model",
        "secrets",
        "journal follower",
    }
    chat = httpx2.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=BODY, timeout=60)
    assert chat.status_code == 200
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    assert out.decode().startswith("hone on http://")
    lines = [json.loads(line) for line in err.decode().splitlines()]
    assert [line["event"] for line in lines if line["event"] in ("ready", "request", "stopping")] == [
        "ready",
        "request",
        "stopping",
    ]
