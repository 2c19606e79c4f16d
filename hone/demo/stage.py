"""Sets the demo's stage: the city service, a hone server in a process of its own, and the tools registered with it."""

import contextlib
import os
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def city_service() -> Iterator[str]:
    """The third party's HTTP service in a thread; gives its base URL."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            build_service({n: o for n, (o, _) in operations().items()}), host="127.0.0.1", port=port, log_level="error"
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(5)


@contextlib.contextmanager
def hone_server(home: Path, model: str, port: int, *, service: str | None = None) -> Iterator[str]:
    """`hone serve` as users run it; gives its base URL once it is ready.

    Args:
        service: base URL on this machine that its tools may call.
    """
    log = home / "server.log"
    # its users are a script, and its tools are the demo's own
    alone = {"HONE_APPROVALS_WAIVED": "*", "HONE_TRUSTED_TOOLS": "*"}
    environment = {**os.environ, **alone, "HONE_ALLOW_MCP_STDIO": "true"}
    if service is not None:
        environment["HONE_ALLOWED_NETWORKS"] = httpx2.URL(service).netloc.decode()
    command = [sys.executable, "-m", "hone", "serve", "--home", str(home), "--model", model, "--port", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StageFailed(f"the server ended with code {process.returncode}: {log.read_text()[-800:]}")
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
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
