"""`python -m bench.serving`: turns per second and their times: hone beside LiteLLM's proxy and a plain LangGraph agent.

All of them have the same policy server behind them, which answers at once (`bench.serving.stub`), so what is measured is the
server's own work. Each server runs in a process of its own, pinned to one core, as its users start it; the policy server and
the clients have the other core. hone writes its traces, threads and journal as always. LiteLLM passes on and keeps nothing; the
LangGraph agent keeps its threads in SQLite. The servers take turns in rounds; printed are the medians.

Turns: `answer` (the policy answers) and `tool` (it calls a tool, then answers; LiteLLM runs no tools and is left out).
"""

import argparse
import asyncio
import itertools
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.serving.stub import MODEL, WITH_TOOL
from hone.output import show_table, write_json

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers"
CLIENTS = (1, 16, 64)
KINDS = {"answer": "What is six times seven?", "tool": f"Please {WITH_TOOL} six by seven."}
UP_WITHIN_S = 120.0
_NUMBERS = itertools.count()
_LITELLM_SETTINGS = {"LITELLM_LOG": "ERROR", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
"""Without keys, as hone is on loopback: no server here checks any."""


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


@contextmanager
def process(command: Sequence[str], core: int, *, port: int | None = None, **environment: str) -> Iterator[str]:
    """URL of a server: one that says its port on its first line, or one that was told it."""
    pinned = ["taskset", "--cpu-list", str(core), *command]
    out = subprocess.PIPE if port is None else subprocess.DEVNULL
    child = subprocess.Popen(pinned, cwd=ROOT, stdout=out, text=True, env={**os.environ, **environment})
    try:
        said = child.stdout.readline().strip() if child.stdout is not None else ""
        yield f"http://127.0.0.1:{port or said}"
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()


@contextmanager
def servers(home: Path, core: int) -> Iterator[list[Server]]:
    """What is measured, the policy server itself first."""
    with ExitStack() as stack:
        other = (core + 1) % (os.cpu_count() or 1)
        os.sched_setaffinity(0, {other})
        stub = stack.enter_context(process([sys.executable, "-m", "bench.serving.stub"], other))
        python = str(PEERS / "langgraph" / "bin" / "python")
        plain = stack.enter_context(process([python, "bench/serving/plain_agent.py", stub, str(home)], core))
        litellm = stack.enter_context(_litellm(home, stub, core))
        hone = stack.enter_context(_hone(home / "hone", stub, core))
        yield [
            Server("policy server alone", stub, MODEL),
            Server("hone", hone, "hone"),
            Server("LiteLLM proxy", litellm, MODEL, kinds=("answer",)),
            Server("LangGraph create_agent", plain, MODEL),
        ]


@contextmanager
def _litellm(home: Path, stub: str, core: int) -> Iterator[str]:
    config = home / "litellm.yaml"
    config.write_text(
        f"model_list:\n- model_name: {MODEL}\n  litellm_params:\n    model: openai/{MODEL}\n"
        f"    api_base: {stub}/v1\n    api_key: none\n"
    )
    port = _free_port()
    command = [str(PEERS / "litellm" / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    with process([*command, "--port", str(port)], core, port=port, **_LITELLM_SETTINGS) as url:
        yield url


@contextmanager
def _hone(home: Path, stub: str, core: int) -> Iterator[str]:
    port = _free_port()
    command = [str(Path(sys.executable).with_name("hone")), "serve", "--home", str(home), "--port", str(port)]
    given = {"HONE_VLLM_URLS": stub, "HONE_LOG_LEVEL": "warning"}
    with process(command, core, port=port, **given) as url:
        yield url


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


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


async def measure(running: Sequence[Server], kind: str, turns: int, rounds: int) -> list[dict[str, Any]]:
    found: dict[tuple[int, str], list[Round]] = {}
    taking_part = [server for server in running if kind in server.kinds]
    for clients in CLIENTS:
        for _ in range(rounds):
            for server in taking_part:
                count = turns if server is not running[0] else 4 * turns
                found.setdefault((clients, server.name), []).append(await play(server, kind, clients, count))
    rows = []
    for clients in CLIENTS:
        ours = _median(found[clients, "hone"])
        alone = _median(found[clients, running[0].name])
        for server in taking_part:
            its = _median(found[clients, server.name])
            added = its.p99 - alone.p99
            rows.append(
                {
                    "turn": kind,
                    "clients": clients,
                    "server": server.name,
                    "turns_per_second": its.rate,
                    "p50_ms": its.p50,
                    "p99_ms": its.p99,
                    "added_p99_ms": added,
                    "hone_turns_over_this": ours.rate / its.rate,
                    "hone_added_p99_over_this": (ours.p99 - alone.p99) / added if server is not running[0] else None,
                }
            )
    return rows


def _median(rounds: Sequence[Round]) -> Round:
    return Round(*(statistics.median(getattr(r, part) for r in rounds) for part in ("rate", "p50", "p99")))


async def run(given: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, servers(Path(folder), given.core) as running:
        for server in running:
            await wait_for(server)
        return [
            row for kind in (given.turn or KINDS) for row in await measure(running, kind, given.turns, given.rounds)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--turns", type=int, default=300, help="in each round of each server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turn", action="append", choices=[*KINDS], help="only this kind")
    parser.add_argument("--core", type=int, default=0, help="that the servers under measurement have")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is standard output")
    given = parser.parse_args()
    for name in ("litellm", "langgraph"):
        if not (PEERS / name).exists():
            parser.error(f"no {PEERS / name}: run make peers first")
    rows = asyncio.run(run(given))
    if given.json:
        write_json({"serving": rows}, given.json)
        return
    columns = (
        "turn",
        "clients",
        "server",
        "turns/s",
        "p50 ms",
        "p99 ms",
        "added p99",
        "hone / this",
        "p99, hone / this",
    )
    shown = [
        [
            row["turn"],
            str(row["clients"]),
            row["server"],
            f"{row['turns_per_second']:.1f}",
            f"{row['p50_ms']:.1f}",
            f"{row['p99_ms']:.1f}",
            f"{row['added_p99_ms']:.1f}",
            f"{row['hone_turns_over_this']:.2f}",
            "" if row["hone_added_p99_over_this"] is None else f"{row['hone_added_p99_over_this']:.2f}",
        ]
        for row in rows
    ]
    show_table("One core for each server under measurement", columns, shown)


if __name__ == "__main__":
    main()
