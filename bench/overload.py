"""`python -m bench.overload`: what becomes of a server that is asked for five times what it can do.

The policy server answers at once (`bench.serving.stub`), so the server is the bottleneck; it has one core, the clients and the
policy the other. First its full load is measured: as many clients as have a place or may wait, each sending its next turn when it
has its answer. Then turns arrive at five times that rate whatever becomes of them. Then slow readers: clients that ask for streams
and take nothing of them, beside the full load.
"""

import argparse
import asyncio
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.serving.load import KINDS, Server, hone_alone, memory_mb, play, wait_for
from hone.output import show_table, write_json

FULL = 128
"""Turns that run and wait at a time, as the settings are unless somebody changes them."""
TIMES = 5
SECONDS = 20.0
SLOW_READERS = 32


@dataclass(frozen=True)
class Answer:
    status: int
    seconds: float
    """As the client saw it, its connection included."""
    own_seconds: float
    """By the server's own clock, from the request's first byte to the answer's."""


async def overloaded(server: Server, rate: float, seconds: float) -> list[Answer]:
    """Args: rate: requests a second, each on a connection of its own, whatever becomes of them."""
    answers: list[Answer] = []

    async def ask(number: int) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(*_address(server))
        writer.write(_request(server, {"messages": [{"role": "user", "content": f"{KINDS['answer']} {number}"}]}))
        told = (await reader.read()).partition(b"\r\n\r\n")[0].decode().lower().splitlines()
        spent = time.perf_counter() - began
        headers = dict(line.split(": ", 1) for line in told[1:])
        answers.append(Answer(int(told[0].split()[1]), spent, int(headers["openai-processing-ms"]) / 1000))
        writer.close()

    began, sent = time.perf_counter(), 0
    async with asyncio.TaskGroup() as tasks:
        while (passed := time.perf_counter() - began) < seconds:
            while sent < passed * rate:
                tasks.create_task(ask(sent))
                sent += 1
            await asyncio.sleep(1 / rate)
    return answers


def _address(server: Server) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def _request(server: Server, body: dict[str, Any]) -> bytes:
    sent = json.dumps({"model": server.model, **body})
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: {}:{}\r\n".format(*_address(server))
    length = f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(sent)}\r\n\r\n"
    return f"{head}{length}{sent}".encode()


@contextmanager
def slow_readers(server: Server, count: int) -> Iterator[None]:
    """Clients whose answers nobody takes."""
    request = _request(server, {"stream": True, "messages": [{"role": "user", "content": KINDS["answer"]}]})
    with ExitStack() as stack:
        for _ in range(count):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            stack.enter_context(connection)
            connection.connect(_address(server))
            connection.sendall(request)
        yield


def quantile(times: Sequence[float], share: float) -> float:
    """Milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000 if times else float("nan")


async def measure(server: Server, pid: int, seconds: float) -> dict[str, Any]:
    await wait_for(server)
    await play(server, "answer", FULL, 4 * FULL)  # everything is warm
    full = await play(server, "answer", FULL, 8 * FULL)
    before = memory_mb(pid, "VmRSS")
    answers = await overloaded(server, TIMES * full.rate, seconds)
    most = memory_mb(pid, "VmHWM")
    with slow_readers(server, SLOW_READERS):
        beside = await play(server, "answer", FULL - SLOW_READERS, 8 * FULL)
    alone = await play(server, "answer", FULL - SLOW_READERS, 8 * FULL)
    served = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    return {
        "full load, turns a second": full.rate,
        "full load, p99 ms": full.p99,
        f"at {TIMES}x: sent": len(answers),
        "served, a second": len(served) / seconds,
        "served, p99 ms": quantile([answer.seconds for answer in served], 0.99),
        "served, p99 / that of full load": quantile([answer.seconds for answer in served], 0.99) / full.p99,
        "refused with 429": len(refused),
        "refused, p50 ms": quantile([answer.seconds for answer in refused], 0.5),
        "refused, p99 ms": quantile([answer.seconds for answer in refused], 0.99),
        "refused, p99 ms by the server's clock": quantile([answer.own_seconds for answer in refused], 0.99),
        "anything else": len(answers) - len(served) - len(refused),
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
    with hone_alone(given.core) as (server, pid):
        found = asyncio.run(measure(server, pid, given.seconds))
    if given.json:
        write_json(found, given.json)
        return
    shown = [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in found.items()]
    show_table(f"Asked for {TIMES} times what it can do", ("", ""), shown)


if __name__ == "__main__":
    main()
