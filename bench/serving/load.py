"""Servers in processes of their own, each on one core, and clients that send them turns."""

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx2

from bench.serving.stub import WITH_TOOL
from tests.tools.serving import free_port

ROOT = Path(__file__).parents[2]
KINDS = {"answer": "What is six times seven?", "tool": f"Please {WITH_TOOL} six by seven."}
UP_WITHIN_S = 120.0
_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Server:
    name: str
    url: str
    model: str
    kinds: Sequence[str] = ("answer", "tool")


@dataclass(frozen=True)
class Round:
    rate: float
    """Turns per second."""
    p50: float
    p99: float
    """Milliseconds."""


@dataclass(frozen=True)
class Started:
    url: str
    pid: int


@contextmanager
def process(command: Sequence[str], core: int, *, port: int | None = None, **environment: str) -> Iterator[Started]:
    """A server: one that says its port on its first line, or one that was told it."""
    pinned = ["taskset", "--cpu-list", str(core), *command]
    out = subprocess.PIPE if port is None else subprocess.DEVNULL
    child = subprocess.Popen(pinned, cwd=ROOT, stdout=out, text=True, env={**os.environ, **environment})
    try:
        said = child.stdout.readline().strip() if child.stdout is not None else ""
        yield Started(f"http://127.0.0.1:{port or said}", child.pid)
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()


@contextmanager
def policy_server(core: int) -> Iterator[Started]:
    """The one that answers at once."""
    with process([sys.executable, "-m", "bench.serving.stub"], core) as started:
        yield started


@contextmanager
def hone_server(home: Path, stub: str, core: int) -> Iterator[Started]:
    port = free_port()
    command = [str(Path(sys.executable).with_name("hone")), "serve", "--home", str(home), "--port", str(port)]
    given = {"HONE_VLLM_URLS": stub, "HONE_LOG_LEVEL": "warning"}
    with process(command, core, port=port, **given) as started:
        yield started


@contextmanager
def hone_alone(core: int) -> Iterator[tuple[Server, int]]:
    """hone on a core and all else, this process among it, on another one; with the id of its process."""
    other = (core + 1) % (os.cpu_count() or 1)
    os.sched_setaffinity(0, {other})
    with (
        tempfile.TemporaryDirectory() as home,
        policy_server(other) as stub,
        hone_server(Path(home) / "hone", stub.url, core) as started,
    ):
        yield Server("hone", started.url, "hone"), started.pid


def memory_mb(pid: int, what: Literal["VmRSS", "VmHWM"]) -> float:
    """Of a process: resident now, or at most so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


async def play(server: Server, kind: str, clients: int, turns: int) -> Round:
    """Args: turns: of all clients together; each client sends its next one when it has the answer to the last."""
    left, times = iter(range(turns)), []

    async def client() -> None:
        for _ in left:
            text = f"{KINDS[kind]} ({next(_NUMBERS)})"  # no two conversations are the same
            body = {"model": server.model, "messages": [{"role": "user", "content": text}]}
            began = time.perf_counter()
            response = await http.post("/v1/chat/completions", json=body)
            answer: dict[str, Any] = response.json()
            assert response.status_code == 200, answer
            assert "42" in answer["choices"][0]["message"]["content"], answer
            times.append(time.perf_counter() - began)

    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=server.url, timeout=120, limits=limits) as http:
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        spent = time.perf_counter() - began
    times.sort()
    return Round(
        turns / spent, times[len(times) // 2] * 1000, times[min(len(times) - 1, len(times) * 99 // 100)] * 1000
    )


async def wait_for(server: Server) -> None:
    deadline = time.monotonic() + UP_WITHIN_S
    while True:
        try:
            await play(server, "answer", 1, 3)
            return
        except (httpx2.HTTPError, AssertionError) as e:
            if time.monotonic() > deadline:
                raise AssertionError(f"{server.name} was not up within {UP_WITHIN_S:.0f} s") from e
            await asyncio.sleep(0.5)
