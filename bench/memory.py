"""`python -m bench.memory`: whether a server's memory stays flat over many turns.

The policy behind it answers at once (`bench.serving.stub`); each turn is a conversation of its own, every second one with a call of
a tool. What is kept of them lies in the database, so memory should not grow with their number.
"""

import argparse
import asyncio
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.serving.load import Server, hone_server, play, policy_server, wait_for
from hone.output import show_table, write_json

TURNS = 100_000
PARTS = 10
CLIENTS = 16


def resident_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def measure(server: Server, pid: int, turns: int) -> list[tuple[int, float]]:
    """(turns so far, MB), at the start and after each part."""
    await wait_for(server)
    found = [(0, resident_mb(pid))]
    for _ in range(PARTS):
        for kind in ("answer", "tool"):
            await play(server, kind, CLIENTS, turns // PARTS // 2)
        found.append((found[-1][0] + turns // PARTS, resident_mb(pid)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--core", type=int, default=0, help="that the server has")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is standard output")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, ExitStack() as stack:
        other = (given.core + 1) % (os.cpu_count() or 1)
        os.sched_setaffinity(0, {other})
        stub = stack.enter_context(policy_server(other))
        hone = stack.enter_context(hone_server(Path(home) / "hone", stub.url, given.core))
        found = asyncio.run(measure(Server("hone", hone.url, "hone"), hone.pid, given.turns))
    if given.json:
        write_json(found, given.json)
        return
    # the first part fills caches and buffers that are bounded; what grows after it grows with the turns
    (begun, first), (ended, last) = found[1], found[-1]
    growth = (last - first) / (ended - begun) * 10_000
    rows = [[f"{turns:,}", f"{mb:.0f}"] for turns, mb in found]
    show_table(
        f"Resident memory; after the first part it grows by {growth:+.1f} MB in 10,000 turns", ("turns", "MB"), rows
    )


if __name__ == "__main__":
    main()
