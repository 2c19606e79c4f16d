"""`python -m bench.telemetry`: what watching costs: turns per second with metrics and spans, and without.

Two servers in one process, each over HTTP on a database of its own, with a policy that answers at once, so that nothing hides the
cost; a collector in the same process takes the spans. The servers take turns in rounds; printed are the medians, and the ratio.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2

from hone.output import show_table, write_json
from runtime.app import create_app
from runtime.settings import Settings
from tests.faults.calling_server import ObeyingPolicy, PlainRenderer
from tests.runtime.otlp_receiver import otlp_receiver
from tests.tools.serving import serving

CLIENTS = 4
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@contextmanager
def server(home: Path, *, collector: str | None) -> Iterator[str]:
    """Watched where a collector is given; gives the URL."""
    settings = Settings(home=home, builtin_tools=False, retrieval="words", log_level="error", metrics=bool(collector))
    os.environ.pop(ENDPOINT, None)
    if collector:
        os.environ[ENDPOINT] = collector
    with serving(create_app(settings, policy=ObeyingPolicy(), renderer=PlainRenderer())) as url:
        yield url


def rate(url: str, turns: int) -> float:
    """Turns per second."""
    body = {"messages": [{"role": "user", "content": "hello"}]}
    with httpx2.Client(base_url=url, timeout=120) as client, ThreadPoolExecutor(CLIENTS) as pool:

        def turn(_: int) -> None:
            client.post("/v1/chat/completions", json=body).raise_for_status()

        began = time.perf_counter()
        list(pool.map(turn, range(turns)))
        return turns / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.telemetry", description=__doc__)
    parser.add_argument("--turns", type=int, default=100, help="in each round")
    parser.add_argument("--rounds", type=int, default=7, help="of each server")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is standard output")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, otlp_receiver() as collector:
        home = Path(folder)
        with server(home / "off", collector=None) as off, server(home / "on", collector=collector.url) as on:
            for url in (off, on):
                rate(url, given.turns // 4)
            pairs = [(rate(off, given.turns), rate(on, given.turns)) for _ in range(given.rounds)]
        sent = len(collector.spans)  # all, now that the servers have ended
    assert sent >= 2 * given.turns * given.rounds, f"{sent} spans arrived, two a turn were made"
    without, with_it = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    ratio = statistics.median(pair[1] / pair[0] for pair in pairs)
    assert len(collector.spans) >= 2 * given.turns * given.rounds, "spans did not arrive"
    found = {"turns": given.turns, "rounds": given.rounds, "off": without, "on": with_it, "ratio": ratio}
    if given.json:
        write_json({"telemetry": found}, given.json)
        return
    row = [f"{without:.1f}", f"{with_it:.1f}", f"{ratio:.3f}"]
    show_table("Turns per second, 4 clients", ("off", "on", "ratio (median of pairs)"), [row])


if __name__ == "__main__":
    main()
