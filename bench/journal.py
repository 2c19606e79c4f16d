"""`python -m bench.journal`: what the journal adds to a call of an HTTP tool, beside the same call without it, in one run.

A real service on this machine, SQLite on disk as `hone serve` opens it. Calls alternate between the two executors, one at a time;
printed are the medians, the difference, the ratio, and the writing transactions of each call.
"""

import argparse
import asyncio
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import Engine, event
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hone.output import show_table, write_json
from runtime.database import open_database
from tools.destinations import LOOPBACK
from tools.execution import Executor
from tools.journal import Journal
from tools.journaled_calls import JournaledCalls
from tools.presence import Presence
from tools.spec import CallStatus, HttpBackend, SideEffect, ToolSpec
from tools.transport import Outbound

CALLS = 400
WARM_UP = 20


async def answer(request: Request) -> JSONResponse:
    return JSONResponse({"booked": (await request.json())["n"]})


@contextmanager
def service() -> Iterator[str]:
    app = Starlette(routes=[Route("/", answer, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
    listener = socket.create_server(("127.0.0.1", 0))
    # Accepted sockets inherit it. Without it an answer's body waits 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class WriteCount:
    """Transactions of an engine that wrote something."""

    def __init__(self, engine: Engine) -> None:
        self.commits = 0
        self._wrote = False
        event.listen(engine, "before_cursor_execute", self._on_statement)
        event.listen(engine, "commit", self._on_commit)

    def _on_statement(self, connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        self._wrote = self._wrote or not statement.startswith(("SELECT", "BEGIN"))

    def _on_commit(self, connection: Any) -> None:
        self.commits += self._wrote
        self._wrote = False


async def seconds(executor: Executor, spec: ToolSpec, n: int) -> float:
    began = time.perf_counter()
    result = await executor.run(spec, {"n": n}, call_id=f"{spec.side_effect}-{n}")
    assert result.status is CallStatus.OK, result.content
    return time.perf_counter() - began


async def measure(url: str, home: Path, calls: int) -> list[dict[str, Any]]:
    engine = open_database(f"sqlite:///{home / 'hone.db'}")
    presence, count = Presence(home / "servers"), WriteCount(engine)
    outbound = Outbound(LOOPBACK)
    plain = Executor(outbound=outbound)
    journaled = Executor(outbound=outbound, calls=JournaledCalls(Journal(engine), presence))
    found: list[dict[str, Any]] = []
    for effect in SideEffect:
        spec = ToolSpec(name="book", parameters={"type": "object"}, backend=HttpBackend(url=url), side_effect=effect)
        without, with_journal = [], []
        for n in range(calls + WARM_UP):
            if n == WARM_UP:
                count.commits = 0
            timed = await seconds(plain, spec, n), await seconds(journaled, spec, n)
            if n >= WARM_UP:
                without.append(timed[0])
                with_journal.append(timed[1])
        before, after = statistics.median(without) * 1000, statistics.median(with_journal) * 1000
        found.append(
            {
                "side_effect": effect.value,
                "calls": calls,
                "without_ms": before,
                "with_ms": after,
                "added_ms": after - before,
                "ratio": after / before,
                "commits_per_call": count.commits / calls,
            }
        )
    await plain.close()
    await journaled.close()
    presence.close()
    engine.dispose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.journal", description=__doc__)
    parser.add_argument("--calls", type=int, default=CALLS, help="of each side-effect class")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; - is standard output")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, service() as url:
        found = asyncio.run(measure(url, Path(folder), given.calls))
    if given.json:
        write_json({"journal": found}, given.json)
        return
    rows = [
        [
            f["side_effect"],
            f"{f['without_ms']:.2f}",
            f"{f['with_ms']:.2f}",
            f"{f['added_ms']:.2f}",
            f"{f['ratio']:.2f}",
            f"{f['commits_per_call']:.2f}",
        ]
        for f in found
    ]
    columns = ("side effect", "without, ms", "with, ms", "added, ms", "ratio", "commits a call")
    show_table(f"Journal, median of {given.calls} calls", columns, rows)


if __name__ == "__main__":
    main()
