"""Promises 1 to 4. A server is killed, again and again, in the middle of turns, while its clients send again whatever they got no
answer to.

`HONE_KILLS` says how often (15 unless it is given; `make faults` kills 1,000 times). What is held against each other is the
service's own count of what was done, and what the clients were told; never the records of the server.
"""

import itertools
import json
import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.counting_service import SECRET, CountingService
from tests.faults.killed_server import Server, register, wait_for_a_call
from tests.tools.serving import serving

KILLS = int(os.environ.get("HONE_KILLS", "15"))
AT_ONCE = 6
"""Clients at a time."""
LONGEST_LIFE_S = 0.5
"""A server is killed at a random moment within this from its first call."""
ENDED_WITHIN_S = 10.0
"""From the restart to the answers of all turns that were under way."""
ASKED_AGAIN = 20
"""Answered requests that are sent once more at the end."""


@dataclass
class Asked:
    """One request of a client, which is sent until it is answered, and what came of it."""

    number: int
    tools: tuple[str, ...]
    streamed: bool
    key: str | None
    """None: the client counts its attempts instead."""
    attempts: int = 0
    begun_as: set[str] = field(default_factory=set)
    """Ids under which answers began to arrive."""
    id: str | None = None
    text: str | None = None
    statuses: tuple[str, ...] = ()
    """What the calls came to, as the client was told."""
    failure: str | None = None

    @property
    def is_answered(self) -> bool:
        return self.id is not None or self.failure is not None

    @property
    def body(self) -> dict[str, Any]:
        said = ", then ".join(f"call {tool} {self.number}" for tool in self.tools)
        return {"model": "hone", "stream": self.streamed, "messages": [{"role": "user", "content": said}]}

    @property
    def headers(self) -> dict[str, str]:
        counted = {"x-stainless-retry-count": str(self.attempts)}
        return counted if self.key is None else {"idempotency-key": self.key}

    def send(self, url: str) -> None:
        """One attempt; where the server dies in it, nothing is learnt."""
        try:
            with httpx2.stream(
                "POST", f"{url}/v1/chat/completions", json=self.body, headers=self.headers, timeout=60
            ) as response:
                self._read(response)
        except httpx2.TransportError:
            pass
        finally:
            self.attempts += 1

    def _read(self, response: httpx2.Response) -> None:
        if response.status_code == 503:
            return  # the server says itself that it may be sent again
        if response.status_code != 200:
            self.failure = json.loads(response.read())["error"]["code"] or response.text
            return
        if not self.streamed:
            body = json.loads(response.read())
            self.begun_as.add(body["id"])
            self._told(body["id"], body["choices"][0]["message"]["content"], body["hone"])
            return
        text, first, last = "", True, {}
        for line in response.iter_lines():
            if line == "data: [DONE]":
                if "error" in last:
                    self.failure = last["error"]["code"]
                else:
                    self._told(last["id"], text, last["hone"])
            elif line:
                last = json.loads(line.removeprefix("data: "))
                if "error" in last:
                    continue
                delta = last["choices"][0]["delta"]
                assert ("role" in delta) is first, "a stream begins at its beginning"
                first = False
                self.begun_as.add(last["id"])
                text += delta.get("content", "")

    def _told(self, answer_id: str, text: str, hone: Mapping[str, Any]) -> None:
        calls = [call for step in hone["steps"] for call in step.get("calls", ())]
        assert [(call["tool"], call["arguments"]) for call in calls] == [(t, {"n": self.number}) for t in self.tools]
        self.id, self.text, self.statuses = answer_id, text, tuple(call["status"] for call in calls)


class Clients:
    """Go on asking, and send each request until it is answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._moments = random.Random(KILLS)
        self._stop, self._quit = threading.Event(), threading.Event()

    @contextmanager
    def asking(self) -> Iterator[None]:
        """New requests are made within the block; it ends when all are answered."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = [pool.submit(self._go_on) for _ in range(AT_ONCE)]
            try:
                yield
            except BaseException:
                self._quit.set()
                raise
            finally:
                self._stop.set()
        for each in running:
            each.result()

    def stop(self) -> None:
        """Nothing new is asked."""
        self._stop.set()

    @property
    def open(self) -> list[Asked]:
        return [each for each in self.asked if not each.is_answered]

    def _go_on(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                asked = self._new(next(self._numbers))
                self.asked.append(asked)
            while not asked.is_answered and not self._quit.is_set():
                asked.send(self.url)
                if not asked.is_answered:
                    time.sleep(0.02)

    def _new(self, number: int) -> Asked:
        tools = (("write",), ("keyed",), ("read", "write"), ("write", "read"), ("read",))[number % 5]
        key = str(uuid.uuid4()) if self._moments.random() < 0.5 else None
        return Asked(number, tools, self._moments.random() < 0.5, key)


@pytest.mark.timeout(180 + 20 * KILLS)
def test_no_turn_is_lost_and_none_acts_twice_however_often_the_server_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_SECRET_COUNTING", SECRET)
    service, moments = CountingService(), random.Random(KILLS)
    server = Server(tmp_path / "home")
    clients = Clients(server.url)
    with serving(service.app()) as url:
        register(server.home, url, "write", "keyed", "read")
        monkeypatch.setenv("HONE_HOSTS_COUNTING", url.removeprefix("http://"))
        with clients.asking():
            for _ in range(KILLS):
                server.start()
                wait_for_a_call(service)
                time.sleep(moments.uniform(0, LONGEST_LIFE_S))
                server.kill()
            clients.stop()
            server.start()
            slowest = wait_until_answered(clients)
        again = ask_again(clients)
        server.kill()
    report(clients, service, slowest)
    check(clients, service)
    assert again == [], "an answer that was given is given again"


def wait_until_answered(clients: Clients) -> float:
    """Seconds."""
    began = time.monotonic()
    while clients.open:
        assert time.monotonic() - began < ENDED_WITHIN_S, f"no end of {clients.open}"
        time.sleep(0.02)
    return time.monotonic() - began


def ask_again(clients: Clients) -> list[tuple[Asked, Asked]]:
    """Sends answered requests with keys once more. Gives those that were answered otherwise, with the other answer."""
    others = []
    for first in [each for each in clients.asked if each.id is not None and each.key is not None][-ASKED_AGAIN:]:
        second = Asked(first.number, first.tools, first.streamed, first.key)
        second.send(clients.url)
        if (second.id, second.text) != (first.id, first.text):
            others.append((first, second))
    return others


def check(clients: Clients, service: CountingService) -> None:
    """What the clients were told against what the service was asked and did."""
    assert service.forged == 0
    wanted = {(tool, asked.number) for asked in clients.asked for tool in asked.tools}
    assert set(service.asked) <= wanted, "a call that nobody asked for"
    for asked in clients.asked:
        assert asked.failure in (None, "turn_cut_off"), asked
        if asked.id is not None:
            assert asked.begun_as == {asked.id}, f"an answer that had begun is the one that comes: {asked}"
            assert len(asked.statuses) == len(asked.tools)
        statuses = dict(zip(asked.tools, asked.statuses, strict=False))
        for tool in asked.tools:
            _check_calls(asked, tool, statuses.get(tool), service)
    assert any(asked.attempts > 1 for asked in clients.asked), "no kill met a turn"


def _check_calls(asked: Asked, tool: str, told: str | None, service: CountingService) -> None:
    """Args: told: what the client was told that the call came to; None: its turn was given up."""
    calls = service.asked.get((tool, asked.number), Counter())
    done = sum(service.effects[call_id] for call_id in calls)
    if tool == "write":
        assert calls.total() <= 1, f"{asked} was sent as {calls}"
        assert told in ("ok", "unknown", None), asked
    else:
        assert told in ("ok", None), asked
    if tool == "keyed":
        assert len(calls) <= 1, f"{asked} was sent under the keys {calls}"
    if told == "ok":
        assert done == 1 or tool == "read", f"{asked} was said to be done, and was done {done} times"
        assert calls, f"{asked} was said to be done, and never arrived"


def report(clients: Clients, service: CountingService, slowest_s: float) -> None:
    statuses = Counter(status for asked in clients.asked for status in asked.statuses)
    again = sum(asked.attempts > 1 for asked in clients.asked)
    failed = Counter(asked.failure for asked in clients.asked if asked.failure is not None)
    print(
        f"\n{KILLS} kills, {len(clients.asked)} turns, {again} sent again, {service.arrivals.total()} calls arrived: "
        f"{dict(statuses)}; failed: {dict(failed)}; all answered {slowest_s:.2f} s after the last restart"
    )
