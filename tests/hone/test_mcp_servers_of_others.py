"""MCP servers that we did not write, from PyPI, each in an environment of its own: imported and called."""

import asyncio
import json
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hone.__main__ import app
from hone.home import open_home
from tests.tools.mcp_environments import git_server, python_of, sqlite_server, time_server
from tests.tools.serving import free_port, to_this_machine
from tools.execution import CallResult, Executor
from tools.spec import CallStatus, McpStdioServer, ToolSpec

FASTMCP_SERVER = Path(__file__).parents[1] / "tools" / "fastmcp_server.py"


@pytest.fixture(autouse=True)
def this_machine_may_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_ALLOWED_NETWORKS", "127.0.0.1")


def hone(*words: str) -> Any:
    result = CliRunner().invoke(app, [*words, "--json", "-"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def imported(server: McpStdioServer, home: Path) -> list[str]:
    """Names of the tools that `hone tools add` registers."""
    command = shlex.join((server.command, *server.args))
    made = hone("tools", "add", "--mcp-command", command, "--home", str(home))
    assert (made["skipped"], made["flagged"]) == ([], [])
    return [tool["name"] for tool in made["tools"]]


def called(home: Path, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[CallResult]:
    """The results of calls of registered tools, in order, through one executor."""
    return asyncio.run(_called(home, calls))


async def _called(home: Path, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[CallResult]:
    executor = Executor(outbound=to_this_machine())
    results = []
    with open_home(home=home) as here:
        for name, arguments in calls:
            spec: ToolSpec = here.catalogue.get(name)
            results.append(await executor.run(spec, arguments, call_id=name))
    await executor.close()
    return results


def test_the_time_server_is_imported_and_called(tmp_path: Path) -> None:
    assert imported(time_server(), tmp_path) == ["get_current_time", "convert_time"]
    noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    converted, unknown = called(
        tmp_path, [("convert_time", noon), ("get_current_time", {"timezone": "Atlantis/Sunken"})]
    )
    assert converted.status is CallStatus.OK
    assert "T21:00:00+09:00" in json.loads(converted.content)["target"]["datetime"]
    assert unknown.status in (CallStatus.BAD_ARGUMENTS, CallStatus.REJECTED)
    assert "Atlantis" in unknown.content


def test_the_git_server_is_imported_and_called(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    for words in (["init", "-q", "-b", "main"], ["config", "user.email", "a@b.c"], ["config", "user.name", "Ada"]):
        subprocess.run(["git", *words], cwd=repository, check=True)
    (repository / "notes.txt").write_text("first")
    assert {"git_status", "git_add", "git_commit", "git_log"} <= set(imported(git_server(), tmp_path))
    where = {"repo_path": str(repository)}
    status, _, committed, log = called(
        tmp_path,
        [
            ("git_status", where),
            ("git_add", {**where, "files": ["notes.txt"]}),
            ("git_commit", {**where, "message": "Keep notes"}),
            ("git_log", where),
        ],
    )
    assert "notes.txt" in status.content
    assert committed.status is CallStatus.OK, committed
    assert "Keep notes" in log.content


def test_a_server_of_the_handshake_era_is_imported_and_called(tmp_path: Path) -> None:
    assert "write_query" in imported(sqlite_server(tmp_path / "shop.db"), tmp_path)
    made, written, read, wrong = called(
        tmp_path,
        [
            ("create_table", {"query": "CREATE TABLE teas (name TEXT, cups INTEGER)"}),
            ("write_query", {"query": "INSERT INTO teas VALUES ('green', 3)"}),
            ("read_query", {"query": "SELECT name, cups FROM teas"}),
            ("read_query", {"query": "DROP TABLE teas"}),
        ],
    )
    assert [made.status, written.status, read.status] == [CallStatus.OK] * 3
    assert "green" in read.content
    assert "Only SELECT" in wrong.content


@pytest.fixture
def fastmcp_url() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([python_of("fastmcp"), str(FASTMCP_SERVER), str(port)])
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, "the FastMCP server died at its start"
        assert time.monotonic() < deadline, "the FastMCP server did not start"
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/mcp"
    process.terminate()
    process.wait(20)


def test_a_fastmcp_server_is_imported_and_called_over_http(tmp_path: Path, fastmcp_url: str) -> None:
    made = hone("tools", "add", "--mcp-url", fastmcp_url, "--prefix", "shop_", "--home", str(tmp_path))
    assert [tool["name"] for tool in made["tools"]] == ["shop_price", "shop_order"]
    price, order, refused = called(
        tmp_path,
        [
            ("shop_price", {"tea": "green"}),
            ("shop_order", {"tea": "green", "cups": 2}),
            ("shop_price", {"tea": "gold"}),
        ],
    )
    assert (price.status, json.loads(price.content)) == (CallStatus.OK, {"tea": "green", "price": 2.5})
    assert (order.status, order.content) == (CallStatus.OK, "2 cups of green")
    assert refused.status is CallStatus.REJECTED
    assert "no gold tea" in refused.content
