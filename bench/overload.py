"""`python -m bench.overload`: what becomes of a server that is asked for five times what it can do.

The policy server answers at once (`bench.serving.stub`), so the server is the bottleneck; it has one core, the clients and the
policy the other. First its full load is measured: as many clients as have a place or may wait, each sending its next turn when it
has its answer. Then turns arrive at five times that rate whatever becomes of them. Then slow readers: clients that ask for streams
and take nothing of them, beside the full load.
"""

import argparse
import asyncio
import json
import os
import socket
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2

from bench.serving.load import KINDS, Server, hone_server, play, policy_server, wait_for
from hone.output import show_table, write_json

FULL = 128
"""Turns that run and wait at a time, as the settings are unless somebody changes them."""
TIMES = 5
SECONDS = 20.0
SLOW_READERS = 32


async def overloaded(server: Server, rate: float, seconds: float) -> dict[int, list[float]]:
    """Status → seconds until each answer. Args: rate: requests a second, whatever becomes of them."""
    times: dict[int, list[float]] = defaultdict(list)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)

    async def ask(number: int) -> None:
        body = {"model": server.model, "messages": [{"role": "user", "content": f"{KINDS['answer']} {number}"}]}
        began = time.perf_counter()
        response = await http.post("/v1/chat/completions", json=body)
        times[response.status_code].append(time.perf_counter() - began)

    async with httpx2.AsyncClient(base_url=server.url, timeout=120, limits=limits) as http:
        began, sent = time.perf_counter(), 0
        async with asyncio.TaskGroup() as tasks:
            while (passed := time.perf_counter() - began) < seconds:
                while sent < passed * rate:
                    tasks.create_task(ask(sent))
                    sent += 1
                await asyncio.sleep(1 / rate)
    return times


@contextmanager
def slow_readers(server: Server, count: int) -> Iterator[None]:
    """Clients whose answers nobody takes."""
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": KINDS["answer"]}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()
    with ExitStack() as stack:
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            stack.enter_context(connection)
            connection.connect((host, int(port)))
            connection.sendall(request)
        yield


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident now, and at most so far."""
    said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return tuple(int(said[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]


def quantile(times: Sequence[float], share: float) -> float:
    """Milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000 if times else float("nan")


async def measure(server: Server, pid: int, seconds: float) -> dict[str, Any]:
    await wait_for(server)
    await play(server, "answer", FULL, 4 * FULL)  # everything is warm
    full = await play(server, "answer", FULL, 8 * FULL)
    before, _ = memory_mb(pid)
    times = await overloaded(server, TIMES * full.rate, seconds)
    _, most = memory_mb(pid)
    with slow_readers(server, SLOW_READERS):
        beside = await play(server, "answer", FULL - SLOW_READERS, 8 * FULL)
    alone = await play(server, "answer", FULL - SLOW_READERS, 8 * FULL)
    served, refused = times.pop(200, []), times.pop(429, [])
    return {
        "full load, turns a second": full.rate,
        "full load, p99 ms": full.p99,
        f"at {TIMES}x: sent": sum(map(len, times.values())) + len(served) + len(refused),
        "served, a second": len(served) / seconds,
        "served, p99 ms": quantile(served, 0.99),
        "served, p99 / that of full load": quantile(served, 0.99) / full.p99,
        "refused with 429": len(refused),
        "refused, p50 ms": quantile(refused, 0.5),
        "refused, p99 ms": quantile(refused, 0.99),
        "anything else": {status: len(found) for status, found in times.items()},
        "memory before, MB": before,
        "memory at most, MB": most,
        f"rate beside {SLOW_READERS} slow readers / without": beside.rate / alone.rate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the overload")
    parser.add_argument("--core", type=int, default=0, help="that the server has")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is standard output")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        other = (given.core + 1) % (os.cpu_count() or 1)
        os.sched_setaffinity(0, {other})
        stub = stack.enter_context(policy_server(other))
        hone = stack.enter_context(hone_server(Path(home) / "hone", stub.url, given.core))
        found = asyncio.run(measure(Server("hone", hone.url, "hone"), hone.pid, given.seconds))
    if given.json:
        write_json(found, given.json)
        return
    shown = [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in found.items()]
    show_table(f"Asked for {TIMES} times what it can do", ("", ""), shown)


if __name__ == "__main__":
    main()
