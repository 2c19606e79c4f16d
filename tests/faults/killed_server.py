"""A server that is started and killed many times, and the tools that it calls meanwhile."""

import multiprocessing
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx2

from hone.home import open_home
from tests.faults.calling_server import serve
from tests.faults.counting_service import CountingService
from tests.tools.serving import free_port
from tools.journal import CallRecord
from tools.spec import ApprovalRule, HttpBackend, SideEffect, ToolSpec

START_LIMIT_S = 60.0

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.calling_server"])


@dataclass
class Server:
    """The server of one home, started and killed many times."""

    home: Path
    port: int = field(default_factory=free_port)
    process: BaseProcess | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def begin(self) -> None:
        variables = {name: value for name, value in os.environ.items() if name.startswith("HONE_")}
        # a daemon: a test that fails while its server runs must not wait for it for ever
        self.process = CONTEXT.Process(
            target=serve, args=(self.home, self.port, variables), kwargs=self.settings, daemon=True
        )
        self.process.start()

    def start(self) -> None:
        """Begins it and waits until it answers."""
        self.begin()
        self.wait()

    def wait(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_LIMIT_S
        while not self._is_up():
            assert self.process.is_alive(), f"the server died at its start with {self.process.exitcode}"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def chat(self, text: str) -> None:
        """One turn; a server that dies in it is no news here."""
        body = {"model": "hone", "messages": [{"role": "user", "content": text}]}
        with suppress(httpx2.TransportError):
            httpx2.post(f"{self.url}/v1/chat/completions", json=body, timeout=30)

    def calls(self, status: str | None = None) -> list[CallRecord]:
        """The journal, in full."""
        with open_home(home=self.home) as here:
            return here.journal.list(status=status, limit=1_000_000)

    def _is_up(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/livez", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


EFFECTS = {"write": SideEffect.WRITE, "keyed": SideEffect.IDEMPOTENT, "read": SideEffect.READ}


def register(home: Path, service: str, *names: str, **settings: Any) -> None:
    """The service's tools of these names, called as they are."""
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    with open_home(home=home, **settings) as here:
        for name in names:
            backend = HttpBackend(url=f"{service}/{name}", signing_secret="COUNTING")
            here.catalogue.add(
                ToolSpec(
                    name=name,
                    parameters=parameters,
                    backend=backend,
                    side_effect=EFFECTS[name],
                    approval=ApprovalRule.WAIVED,
                )
            )


def wait_for_a_call(service: CountingService) -> None:
    before, deadline = service.arrivals.total(), time.monotonic() + 30
    while service.arrivals.total() == before:
        assert time.monotonic() < deadline, "no call arrived"
        time.sleep(0.005)
