"""Serves an ASGI app on a free loopback port, in a thread: real sockets, for as long as a block lasts."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tools.destinations import LOOPBACK
from tools.transport import Outbound

START_LIMIT_S = 20.0


@contextmanager
def serving(app: Any, *, port: int = 0) -> Iterator[str]:
    """Gives the base URL."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not server.started:
            assert thread.is_alive(), "the test server died at its start"
            assert time.monotonic() < deadline, "the test server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_LIMIT_S)
        listener.close()


def to_this_machine() -> Outbound:
    """May call what `serving` serves."""
    return Outbound(LOOPBACK)


def free_port() -> int:
    """A port where nothing listens, right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
