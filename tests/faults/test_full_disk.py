"""Promise 19: when the disk takes nothing more, a turn is refused before any tool runs, and served again when there is room.

What is full is the server's allowance: the system refuses each write of its process to a file, as it would on a full disk.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.faults.counting_service import SECRET, CountingService
from tests.faults.killed_server import Server, register
from tests.tools.serving import serving


@contextmanager
def no_room(server: Server) -> Iterator[None]:
    assert server.process is not None
    assert server.process.pid is not None
    pid = server.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def ask(server: Server, text: str) -> httpx2.Response:
    body = {"model": "hone", "messages": [{"role": "user", "content": text}]}
    return httpx2.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)


def test_on_a_full_disk_a_turn_is_refused_before_any_tool_runs_and_served_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HONE_SECRET_COUNTING", SECRET)
    service, server = CountingService(), Server(tmp_path / "home")
    with serving(service.app()) as url:
        register(server.home, url, "write", "read")
        monkeypatch.setenv("HONE_HOSTS_COUNTING", url.removeprefix("http://"))
        server.start()
        try:
            assert ask(server, "call write 1").status_code == 200
            before = service.arrivals.total()
            with no_room(server):
                refused = [ask(server, f"call {tool} 2") for tool in ("write", "read")]
                told = httpx2.get(f"{server.url}/livez", timeout=10)
            again = ask(server, "call write 3")
        finally:
            server.kill()
    assert told.status_code == 200
    for answer in refused:
        assert answer.status_code == 503, answer.text
        assert "room on its disk" in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "true"
    assert again.status_code == 200, again.text
    assert service.arrivals.total() == before + 1
    assert sum(service.effects.values()) == before + 1
