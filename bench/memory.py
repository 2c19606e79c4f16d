"""`python -m bench.memory`: whether a server's memory stays flat over many turns.

The policy behind it answers at once (`bench.serving.stub`); each turn is a conversation of its own, every second one with a call of
a tool. What is kept of them lies in the database, so memory should not grow with their number.
"""

import argparse
import asyncio

from bench.serving.load import Server, hone_alone, memory_mb, play, wait_for
from hone.output import show_table, write_json

TURNS = 100_000
PARTS = 10
CLIENTS = 16


async def measure(server: Server, pid: int, turns: int) -> list[tuple[int, float]]:
    """(turns so far, MB), at the start and after each part."""
    await wait_for(server)
    found = [(0, memory_mb(pid, "VmRSS"))]
    for _ in range(PARTS):
        for kind in ("answer", "tool"):
            await play(server, kind, CLIENTS, turns // PARTS // 2)
        found.append((found[-1][0] + turns // PARTS, memory_mb(pid, "VmRSS")))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--core", type=int, default=0, help="that the server has")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is standard output")
    given = parser.parse_args()
    with hone_alone(given.core) as (server, pid):
        found = asyncio.run(measure(server, pid, given.turns))
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
