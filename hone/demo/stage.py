"""Sets the demo's stage: the city service, a hone server in a process of its own, and the tools registered with it."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from hone.demo.scenes import operations
from hone.demo.service import build_service, definition

READY_WITHIN_S = 90.0


class StageFailed(RuntimeError):
    """The demo could not be set up; the message says what and where to look."""


@contextlib.contextmanager
def city_service() -> Iterator[str]:
    """The third party's HTTP service in a thread; gives its base URL."""
    service = build_service({n: o for n, (o, _) in operations().items()})
    server = uvicorn.Server(uvicorn.Config(service, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(5)


def own_database(home: Path) -> str:
    """SQLAlchemy URL of the stage's database, whichever one the environment names: its users are no traffic of the operator's."""
    return f"sqlite:///{(home / 'hone.db').resolve()}"


@contextlib.contextmanager
def hone_server(home: Path, model: str, *, port: int = 0, service: str | None = None) -> Iterator[str]:
    """`hone serve` as users run it; gives its base URL once it is ready.

    Args:
        port: 0: any free one. The server says which it took: one that was merely free a moment ago may be another's by then.
        service: base URL on this machine that its tools may call.
    """
    log = home / "server.log"
    # its users are a script, and its tools are the demo's own
    alone = {"HONE_APPROVALS_WAIVED": "*", "HONE_TRUSTED_TOOLS": "*"}
    environment = {**os.environ, **alone, "HONE_ALLOW_MCP_STDIO": "true", "HONE_DATABASE_URL": own_database(home)}
    if service is not None:
        environment["HONE_ALLOWED_NETWORKS"] = httpx2.URL(service).netloc.decode()
    command = [sys.executable, "-m", "hone", "serve", "--home", str(home), "--model", model, "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        yield _url_when_ready(process, log)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _url_when_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StageFailed(f"the server ended with code {process.returncode}: {log.read_text()[-800:]}")
        said = re.search(r"^hone on (\S+)$", log.read_text(), re.MULTILINE)
        with contextlib.suppress(httpx2.TransportError):
            if said is not None and httpx2.get(f"{said[1]}/readyz", timeout=2).status_code == 200:
                return said[1]
        time.sleep(0.2)
    raise StageFailed(f"the server was not ready within {READY_WITHIN_S:.0f} s; its log is {log}")


def register_tools(url: str, service_url: str) -> list[str]:
    """Registers the service's operations by JSON schema and the library by MCP; the built-in tools are there already."""
    library = {"command": sys.executable, "args": ["-m", "hone.demo.library"], "approval": "waived"}
    bodies: list[dict[str, Any]] = [{"mcp": library}]
    for name, (operation, never_train) in operations().items():
        bodies.append(definition(service_url, name, operation, never_train=never_train))
    with httpx2.Client(base_url=url, timeout=60) as client:
        for body in bodies:
            response = client.post("/v1/tools", json=body)
            if response.status_code != 201:
                raise StageFailed(f"a tool was not registered: {response.text}")
        listed = client.get("/v1/tools").json()
    return sorted(tool["name"] for tool in listed.get("tools", listed.get("data", [])))
