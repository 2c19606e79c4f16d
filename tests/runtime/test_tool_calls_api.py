"""/v1/tool-calls: chat, look at what was called, restart, settle what is unknown."""

from pathlib import Path

import pytest

from runtime.database import open_database
from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute, tool
from tests.runtime.served_app import served_app
from tests.tools.http_service import build_service
from tests.tools.serving import serving
from tools.journal import Journal
from tools.presence import Presence
from tools.spec import HttpBackend, SideEffect


def test_a_write_of_a_chat_is_on_record_once_it_is_approved(tmp_path: Path, renderer: Renderer) -> None:
    with serving(build_service()) as service:
        backend = HttpBackend(url=f"{service}/orders")
        parameters = {"type": "object", "properties": {"drink": {"type": "string"}}}
        spec = tool("order", parameters, backend=backend, side_effect=SideEffect.WRITE)
        with served_app(tmp_path, renderer, tools=[spec]) as server:
            server.policy.script = [execute(("order", {"drink": "tea"})), "Ordered."]
            server.chat("tea please", metadata={"thread": "t"})
            before = server.http.get("/v1/tool-calls").json()["data"]
            reply = server.chat("approve", metadata={"thread": "t"}).json()
            listed = server.http.get("/v1/tool-calls").json()
            (call,) = listed["data"]
            one = server.http.get(f"/v1/tool-calls/{call['id']}").json()
            missing = server.http.get("/v1/tool-calls/nothing")
            known = server.http.post(f"/v1/tool-calls/{call['id']}/settle", json={"status": "ok"})
    assert before == []
    assert reply["hone"]["steps"][0]["calls"][0]["status"] == "ok"
    assert (call["tool"], call["version"], call["arguments"]) == ("order", 1, {"drink": "tea"})
    assert (call["status"], call["side_effect"], call["idempotency_key"]) == ("ok", "write", call["id"])
    assert '"tea"' in call["result"]
    assert one == call
    assert listed["next"] is None
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "tool_call_not_found")
    assert (known.status_code, known.json()["error"]["code"]) == (409, "tool_call_not_unknown")


def test_a_write_that_a_stopped_server_left_is_listed_as_unknown_and_settled(
    tmp_path: Path, renderer: Renderer
) -> None:
    stopped = Presence(tmp_path / "servers")
    engine = open_database(f"sqlite:///{tmp_path / 'hone.db'}")
    Journal(engine).begin(tool("pay", side_effect=SideEffect.WRITE), {"city": "Oslo"}, "call_1", stopped.owner)
    engine.dispose()
    stopped.close()
    with served_app(tmp_path, renderer) as server:
        (call,) = server.http.get("/v1/tool-calls", params={"status": "unknown"}).json()["data"]
        assert call["id"] == "call_1"
        body = {"status": "failed", "result": "no such payment", "note": "asked the bank"}
        settled = server.http.post("/v1/tool-calls/call_1/settle", json=body).json()
        assert server.http.get("/v1/tool-calls", params={"status": "unknown"}).json()["data"] == []
    assert (settled["status"], settled["note"]) == ("failed", "asked the bank")
    assert "no such payment" in settled["result"]


@pytest.mark.parametrize(
    ("body", "param"), [({}, "status"), ({"status": "unknown"}, "status"), ({"status": "ok", "by": "me"}, "by")]
)
def test_a_bad_settlement_names_the_field(tmp_path: Path, renderer: Renderer, body: dict, param: str) -> None:
    with served_app(tmp_path, renderer) as server:
        response = server.http.post("/v1/tool-calls/call_1/settle", json=body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        assert server.http.get("/v1/tool-calls", params={"status": "lost"}).status_code == 400
        assert server.http.get("/v1/tool-calls", params={"before": 2**63}).status_code == 400
