"""Promise 2: no effect happens twice. A server is killed, again and again, in the middle of the calls of its tools.

`HONE_KILLS` says how often (15 unless it is given; `make faults` kills 1,000 times). The service that is called lives on and
keeps its own count, against which the journal is held.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.counting_service import SECRET, CountingService
from tests.faults.killed_server import Server, register, wait_for_a_call
from tests.tools.serving import serving
from tools.journal import CallRecord
from tools.spec import CallStatus, SideEffect

KILLS = int(os.environ.get("HONE_KILLS", "15"))
AT_ONCE = 6
"""Chats at a time."""
LONGEST_LIFE_S = 0.5
"""A server is killed at a random moment within this from its first call, or from its start."""
KILLED_AT_START = 0.2
"""Share of the servers that are killed as they start, while they look after what the last one left."""
KNOWN_WITHIN_S = 5.0
"""From the restart to the moment when no unfinished write is left."""


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
        register(server.home, url, "write", "keyed")
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
