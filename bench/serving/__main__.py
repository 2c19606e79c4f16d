"""`python -m bench.serving`: turns per second and their times: hone beside LiteLLM's proxy and a plain LangGraph agent.

All of them have the same policy server behind them, which answers at once (`bench.serving.stub`), so what is measured is the
server's own work. Each server runs in a process of its own, pinned to one core, as its users start it; the policy server and
the clients have the other core. hone writes its traces, threads and journal as always. LiteLLM passes on and keeps nothing; the
LangGraph agent keeps its threads in SQLite. The servers take turns in rounds; printed are the medians.

Turns: `answer` (the policy answers) and `tool` (it calls a tool, then answers; LiteLLM runs no tools and is left out).
"""

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.serving.load import (
    KINDS,
    ROOT,
    Round,
    Server,
    hone_server,
    play,
    policy_server,
    process,
    wait_for,
)
from bench.serving.stub import MODEL
from hone.output import show_table, write_json
from tests.tools.serving import free_port

PEERS = ROOT / ".venv-peers"
CLIENTS = (1, 16, 64)
_LITELLM_SETTINGS = {"LITELLM_LOG": "ERROR", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
"""Without keys, as hone is on loopback: no server here checks any."""


@contextmanager
def servers(home: Path, core: int) -> Iterator[list[Server]]:
    """What is measured, the policy server itself first."""
    with ExitStack() as stack:
        other = (core + 1) % (os.cpu_count() or 1)
        os.sched_setaffinity(0, {other})
        stub = stack.enter_context(policy_server(other)).url
        python = str(PEERS / "langgraph" / "bin" / "python")
        plain = stack.enter_context(process([python, "bench/serving/plain_agent.py", stub, str(home)], core)).url
        litellm = stack.enter_context(_litellm(home, stub, core))
        hone = stack.enter_context(hone_server(home / "hone", stub, core)).url
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
    port = free_port()
    command = [str(PEERS / "litellm" / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    with process([*command, "--port", str(port)], core, port=port, **_LITELLM_SETTINGS) as started:
        yield started.url


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
