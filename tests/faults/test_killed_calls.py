"""Promise 2: no effect happens twice. A server is killed, again and again, in the middle of the calls of its tools.

`HONE_KILLS` says how often (15 unless it is given; `make faults` kills 1,000 times). The service that is called lives on and
keeps its own count, against which the journal is held.
"""

import multiprocessing
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx2
import pytest

from hone.home import open_home
from tests.faults.calling_server import serve
from tests.faults.counting_service import SECRET, CountingService
from tests.tools.serving import free_port, serving
from tools.journal import CallRecord
from tools.spec import ApprovalRule, CallStatus, HttpBackend, SideEffect, ToolSpec

KILLS = int(os.environ.get("HONE_KILLS", "15"))
AT_ONCE = 6
"""Chats at a time."""
LONGEST_LIFE_S = 0.5
"""A server is killed at a random moment within this from its first call, or from its start."""
KILLED_AT_START = 0.2
"""Share of the servers that are killed as they start, while they look after what the last one left."""
START_LIMIT_S = 60.0
KNOWN_WITHIN_S = 5.0
"""From the restart to the moment when no unfinished write is left."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.calling_server"])


@dataclass
class Server:
    """The server of one home, started and killed many times."""

    home: Path
    port: int = field(default_factory=free_port)
    process: BaseProcess | None = None

    def begin(self) -> None:
        # a daemon: a test that fails while its server runs must not wait for it for ever
        self.process = CONTEXT.Process(target=serve, args=(self.home, self.port), daemon=True)
        self.process.start()

    def start(self) -> None:
        """Begins it and waits until it answers."""
        self.begin()
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

    def chat(self, text: str) -> None:
        """One turn; a server that dies in it is no news here."""
        body = {"model": "hone", "messages": [{"role": "user", "content": text}]}
        with suppress(httpx2.TransportError):
            httpx2.post(f"http://127.0.0.1:{self.port}/v1/chat/completions", json=body, timeout=30)

    def calls(self, status: str | None = None) -> list[CallRecord]:
        """The journal, in full."""
        with open_home(home=self.home) as here:
            return here.journal.list(status=status, limit=1_000_000)

    def _is_up(self) -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{self.port}/livez", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


class Chatter:
    """Users who go on asking for calls, each with a number of its own, until told to stop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._numbers = iter(range(10**9))
        self._lock = threading.Lock()

    @contextmanager
    def chatting(self) -> Iterator[None]:
        stop = threading.Event()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = [pool.submit(self._go_on, stop) for _ in range(AT_ONCE)]
            try:
                yield
            finally:
                stop.set()
        for each in running:
            each.result()

    def _go_on(self, stop: threading.Event) -> None:
        while not stop.is_set():
            with self._lock:
                number = next(self._numbers)
            self._server.chat(f"call {'write' if number % 2 else 'keyed'} {number}")


def register(home: Path, service: str) -> None:
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    with open_home(home=home) as here:
        for name, effect in (("write", SideEffect.WRITE), ("keyed", SideEffect.IDEMPOTENT)):
            backend = HttpBackend(url=f"{service}/{name}", signing_secret="COUNTING")
            here.catalogue.add(
                ToolSpec(
                    name=name,
                    parameters=parameters,
                    backend=backend,
                    side_effect=effect,
                    approval=ApprovalRule.WAIVED,
                )
            )


def wait_for_a_call(service: CountingService) -> None:
    before, deadline = service.arrivals.total(), time.monotonic() + 30
    while service.arrivals.total() == before:
        assert time.monotonic() < deadline, "no call arrived"
        time.sleep(0.005)


def wait_until_known(server: Server) -> float:
    """Seconds until the journal holds no unfinished write."""
    began = time.monotonic()
    while any(call.side_effect is SideEffect.WRITE for call in server.calls("started")):
        assert time.monotonic() - began < KNOWN_WITHIN_S, "a write is still unfinished"
        time.sleep(0.02)
    return time.monotonic() - began


def wait_until_ended(server: Server) -> None:
    deadline = time.monotonic() + 60
    while server.calls("started"):
        assert time.monotonic() < deadline, "an idempotent call did not end"
        time.sleep(0.05)


@pytest.mark.timeout(120 + 20 * KILLS)
def test_no_call_runs_twice_and_none_is_lost_however_often_the_server_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_SECRET_COUNTING", SECRET)
    service, moments = CountingService(), random.Random(KILLS)
    server = Server(tmp_path / "home")
    chatter = Chatter(server)
    slowest = 0.0
    with serving(service.app()) as url:
        register(server.home, url)
        monkeypatch.setenv("HONE_HOSTS_COUNTING", url.removeprefix("http://"))
        for _ in range(KILLS):
            if moments.random() < KILLED_AT_START:
                server.begin()
                time.sleep(moments.uniform(0, LONGEST_LIFE_S))
                server.kill()
                continue
            server.start()
            slowest = max(slowest, wait_until_known(server))
            with chatter.chatting():
                wait_for_a_call(service)
                time.sleep(moments.uniform(0, LONGEST_LIFE_S))
                server.kill()
        server.start()
        slowest = max(slowest, wait_until_known(server))
        wait_until_ended(server)
        server.kill()
    calls = server.calls()
    report(calls, service, slowest)
    check(calls, service)


def check(calls: list[CallRecord], service: CountingService) -> None:
    """The journal against the service's own count."""
    assert service.forged == 0
    assert set(service.arrivals) <= {call.call_id for call in calls}, "a call arrived that is not on record"
    for call in calls:
        done, arrived = service.effects[call.call_id], service.arrivals[call.call_id]
        if call.side_effect is SideEffect.WRITE:
            assert arrived <= 1, f"{call.call_id} was sent {arrived} times"
            assert call.outcome in (CallStatus.OK, CallStatus.FAILED, CallStatus.UNKNOWN), call
        else:
            assert (call.outcome, done) == (CallStatus.OK, 1), call
        if call.outcome is not CallStatus.UNKNOWN:
            assert done == (1 if call.outcome is CallStatus.OK else 0), call
    assert any(call.outcome is CallStatus.UNKNOWN for call in calls), "no kill met a write"
    assert any(call.attempts > 1 for call in calls), "no kill met an idempotent call"


def report(calls: list[CallRecord], service: CountingService, slowest_s: float) -> None:
    by_status = Counter(f"{call.side_effect.value} {call.status}" for call in calls)
    again = sum(call.attempts > 1 for call in calls)
    repeated = sum(count > 1 for count in service.arrivals.values())
    unknown_done = sum(service.effects[c.call_id] for c in calls if c.outcome is CallStatus.UNKNOWN)
    print(
        f"\n{KILLS} kills, {len(calls)} calls: {dict(by_status)}; {again} run again, {repeated} of them had arrived before; "
        f"{unknown_done} of the unknown had happened; unknown within {slowest_s:.2f} s of the restart"
    )
