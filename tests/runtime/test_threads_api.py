"""DELETE /v1/threads/{id} and `hone threads erase`: what was said is found nowhere after, the database files included."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hone.__main__ import app as hone_command
from runtime.errors import ThreadBusy, ThreadNotFound
from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.http_service import build_service
from tests.tools.serving import serving
from tools.spec import ApprovalRule, HttpBackend, SideEffect, ToolSpec

PARAMETERS = {"type": "object", "properties": {"drink": {"type": "string"}}}
SAID = "zanzibar-4711"
"""Said, called with and answered in the thread that is erased."""


def order(url: str, approval: ApprovalRule = ApprovalRule.WAIVED) -> ToolSpec:
    backend = HttpBackend(url=f"{url}/orders")
    return ToolSpec(
        name="order", parameters=PARAMETERS, backend=backend, side_effect=SideEffect.WRITE, approval=approval
    )


def talk(server: ServedApp, thread: str, said: str) -> dict[str, Any]:
    server.policy.script = [execute(("order", {"drink": said})), f"Here is {said}."]
    reply = server.chat(f"{said} please", metadata={"thread": thread})
    assert reply.status_code == 200, reply.text
    return reply.json()


def where(home: Path, said: str) -> list[str]:
    return [path.name for path in home.rglob("*") if path.is_file() and said.encode() in path.read_bytes()]


def test_a_thread_is_erased_from_the_files_and_another_stays(tmp_path: Path, renderer: Renderer) -> None:
    with serving(build_service()) as service, served_app(tmp_path, renderer, tools=[order(service)]) as server:
        talk(server, "mine:1", SAID)
        talk(server, "other", "tea")
        assert {name.partition("-")[0] for name in where(tmp_path, SAID)} == {"hone.db"}
        assert where(tmp_path, SAID)
        erased = server.http.delete("/v1/threads/mine:1")
        assert erased.status_code == 200, erased.text
        assert erased.json()["erased"] == {"traces": 1, "calls": 1, "approvals": 0, "heads": 1}
        assert where(tmp_path, SAID) == []
        assert server.http.get("/v1/traces?thread=mine:1").json()["data"] == []
        assert len(server.http.get("/v1/traces").json()["data"]) == 1
        gone = server.http.delete("/v1/threads/mine:1")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "thread_not_found")
        talk(server, "mine:1", "coffee")  # the name is free for a new conversation
        assert SAID not in server.policy.prompts[-1]
        assert "coffee" in server.policy.prompts[-1]


def test_a_thread_that_waits_for_an_answer_goes_with_its_question(tmp_path: Path, renderer: Renderer) -> None:
    asking = order("http://127.0.0.1:9", ApprovalRule.ALWAYS)
    with served_app(tmp_path, renderer, tools=[asking], poll_s=0.05) as server:
        approval = talk(server, "mine", SAID)["hone"]["approval"]["id"]
        assert server.http.delete("/v1/threads/mine").json()["erased"]["approvals"] == 1
        assert server.http.post(f"/v1/approvals/{approval}/approve").status_code == 404
        assert where(tmp_path, SAID) == []
        assert server.http.get("/v1/tool-calls").json()["data"] == []


def test_a_thread_in_which_a_turn_runs_is_409(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer, ["Hello."]) as server:
        server.chat("hi", metadata={"thread": "mine"})

        async def held() -> Any:
            async with server.services.threads.alone("mine"):
                return await asyncio.to_thread(server.http.delete, "/v1/threads/mine")

        busy = asyncio.run(held())
        assert (busy.status_code, busy.json()["error"]["code"]) == (409, "thread_busy")
        assert "'mine' is running" in busy.json()["error"]["message"]
        assert server.http.delete("/v1/threads/mine").status_code == 200


def test_old_calls_are_purged_over_http(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer) as server:
        purged = server.http.delete("/v1/tool-calls", params={"before": "2026-01-01T00:00:00Z"})
        assert purged.json() == {"object": "purge", "removed": {"calls": 0, "approvals": 0}}
        for before in ("2999-01-01T00:00:00Z", "2026-01-01T00:00:00", "yesterday"):
            assert server.http.delete("/v1/tool-calls", params={"before": before}).status_code == 400, before
        assert server.http.delete("/v1/tool-calls").status_code == 400


def test_the_command_line_erases_where_no_server_is_at_it(tmp_path: Path, renderer: Renderer) -> None:
    arguments = ["threads", "erase", "mine", "--home", str(tmp_path)]
    with serving(build_service()) as service, served_app(tmp_path, renderer, tools=[order(service)]) as server:
        talk(server, "mine", SAID)
        with pytest.raises(ThreadBusy, match="DELETE /v1/threads/mine"):
            CliRunner().invoke(hone_command, arguments, catch_exceptions=False)
    done = CliRunner().invoke(hone_command, arguments, catch_exceptions=False)
    assert "mine is erased: 1 traces, 1 calls, 0 approvals, 1 heads" in done.output
    assert where(tmp_path, SAID) == []
    with pytest.raises(ThreadNotFound):
        CliRunner().invoke(hone_command, arguments, catch_exceptions=False)
    purge = ["tools", "calls", "--purge-before", "2026-01-01", "--home", str(tmp_path)]
    assert "removed: 0 calls, 0 approvals" in CliRunner().invoke(hone_command, purge, catch_exceptions=False).output
