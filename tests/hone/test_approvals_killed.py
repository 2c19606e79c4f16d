"""Approvals of a real server that is killed at the worst moments, with a tool that keeps its own count."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from openai import OpenAI
from typer.testing import CliRunner

from hone.__main__ import app as command
from tests.runtime.scripted_server import scripted_server
from tests.tiny_model import build_tiny_model
from tests.tools.serving import free_port, serving

WITHIN_S = 30.0
ORDER = '<tool_call>{"name": "order", "arguments": {"drink": "tea"}}</tool_call>'
SCHEMA = {"type": "object", "properties": {"drink": {"type": "string"}}, "required": ["drink"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@dataclass
class Shop:
    """A third party's service that counts the orders that reach it."""

    url: str = ""
    orders: list[dict[str, Any]] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    shop.may_answer.set()
    service = FastAPI()

    @service.post("/orders")
    def order(body: dict[str, Any]) -> dict[str, str]:
        shop.orders.append(body)
        shop.may_answer.wait(WITHIN_S)
        return {"order": "placed"}

    with serving(service) as url:
        shop.url = url
        yield shop
        shop.may_answer.set()


@dataclass
class Server:
    """One home and port, served by one process after another."""

    home: Path
    model: Path
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def runs(self, *script: str) -> Iterator[Callable[[], None]]:
        """Gives the function that kills it."""
        with scripted_server(self.home, self.port, self.model, script) as process:

            def kill() -> None:
                process.kill()
                process.wait()

            yield kill

    def register(self, shop: Shop) -> None:
        body = {"name": "order", "parameters": SCHEMA, "endpoint": {"url": f"{shop.url}/orders"}}
        assert httpx2.post(f"{self.url}/v1/tools", json=body, timeout=30).status_code == 201

    def say(self, text: str) -> tuple[str, dict[str, Any]]:
        """What was replied, and its `hone` field."""
        with OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
            reply = client.chat.completions.create(
                model="hone", messages=[{"role": "user", "content": text}], metadata={"thread": "t"}
            )
        return reply.choices[0].message.content or "", (reply.model_extra or {})["hone"]

    def trace(self, trace_id: str) -> dict[str, Any]:
        return httpx2.get(f"{self.url}/v1/traces/{trace_id}", timeout=30).json()

    def finished(self, trace_id: str) -> dict[str, Any]:
        """The trace, once its turn has ended."""
        deadline = time.monotonic() + WITHIN_S
        while (trace := self.trace(trace_id))["status"] == "waiting":
            assert time.monotonic() < deadline, "the turn still waits"
            time.sleep(0.05)
        return trace


@pytest.fixture
def server(tmp_path: Path, model: Path) -> Server:
    return Server(tmp_path / "home", model)


def hone(server: Server, *arguments: str) -> dict[str, Any]:
    """What `hone approvals ...` says."""
    called = ["approvals", *arguments, "--home", str(server.home), "--json", "-"]
    return json.loads(CliRunner().invoke(command, called, catch_exceptions=False).stdout)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", ["chat", "http"])
def test_a_server_killed_while_a_call_waits_lets_it_run_once_when_it_is_approved(
    server: Server, shop: Shop, way: str
) -> None:
    with server.runs(ORDER) as kill:
        server.register(shop)
        text, asked = server.say("order tea")
        assert '"drink": "tea"' in text
        kill()
    with server.runs("Ordered.", "Bye."):
        if way == "chat":
            assert server.say("approve")[0] == "Ordered."
        else:
            done = httpx2.post(f"{server.url}/v1/approvals/{asked['approval']['id']}/approve", timeout=60).json()
            assert done["completion"]["choices"][0]["message"]["content"] == "Ordered."
        again = httpx2.post(f"{server.url}/v1/approvals/{asked['approval']['id']}/approve", timeout=60)
        assert again.status_code == 409
        assert server.trace(asked["trace"])["status"] == "finished"
        assert server.say("bye")[0] == "Bye."
    assert shop.orders == [{"drink": "tea"}]


@pytest.mark.timeout(240)
def test_an_answer_by_the_command_line_reaches_a_server_that_runs_and_one_that_starts_later(
    server: Server, shop: Shop
) -> None:
    with server.runs(ORDER, "Ordered.", ORDER) as kill:
        server.register(shop)
        _, first = server.say("order tea")
        (listed,) = hone(server, "list")["approvals"]
        assert (listed["id"], listed["ask"]["arguments"]) == (first["approval"]["id"], {"drink": "tea"})
        assert hone(server, "approve", listed["id"])["state"] == "approved"
        assert server.finished(first["trace"])["spans"][0]["outcomes"][0]["status"] == "ok"
        _, second = server.say("another")
        kill()
    assert hone(server, "decline", second["approval"]["id"])["state"] == "declined"
    assert hone(server, "list")["approvals"] == []
    assert len(hone(server, "list", "--all")["approvals"]) == 2
    with server.runs("As you wish."):
        assert server.finished(second["trace"])["spans"][0]["outcomes"][0]["status"] == "declined"
    assert len(shop.orders) == 1


@pytest.mark.timeout(240)
def test_a_server_killed_in_the_middle_of_an_approved_call_does_not_make_it_again(server: Server, shop: Shop) -> None:
    shop.may_answer.clear()
    with server.runs(ORDER) as kill:
        server.register(shop)
        _, asked = server.say("order tea")
        hone(server, "approve", asked["approval"]["id"])
        deadline = time.monotonic() + WITHIN_S
        while not shop.orders:
            assert time.monotonic() < deadline, "the order never came"
            time.sleep(0.01)
        kill()
    with server.runs("I can't tell."):
        (outcome,) = server.finished(asked["trace"])["spans"][0]["outcomes"]
        assert outcome["status"] == "unknown"
        assert "not known" in outcome["content"]
        (call,) = httpx2.get(f"{server.url}/v1/tool-calls?status=unknown", timeout=30).json()["data"]
        assert (call["id"], call["arguments"]) == (outcome["call_id"], {"drink": "tea"})
    assert len(shop.orders) == 1
