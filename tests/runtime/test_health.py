"""/readyz names each part, and for what is missing the remedy; only what a turn needs makes the server not ready."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from runtime.database import check_current
from runtime.errors import PolicyUnavailable
from runtime.policy.vllm import VllmPolicy
from runtime.prompt import Renderer
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.serving import free_port, serving


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, executor=None) as served:
        yield served


def ready(server: ServedApp) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Status, body, and the parts by name."""
    answer = server.http.get("/readyz")
    body = answer.json()
    return answer.status_code, body, {part["name"]: part for part in body["parts"]}


def test_all_that_a_turn_needs_is_named(server: ServedApp) -> None:
    status, body, parts = ready(server)
    assert (status, body["status"], body["missing"]) == (200, "ready", [])
    required = {name for name, part in parts.items() if part["required"]}
    names = ("deployment", "answers", "journal", "turns", "servers")
    followers = {f"{name} follower" for name in names}
    assert required == {"turns", "database", "disk", "model"} | followers
    assert {part["status"] for part in parts.values()} == {"ok"}


def test_a_model_that_does_not_answer(server: ServedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down() -> frozenset[str]:
        raise PolicyUnavailable("the worker has ended")

    monkeypatch.setattr(server.policy, "adapters", down)
    status, body, parts = ready(server)
    assert (status, body["missing"]) == (503, ["model"])
    assert parts["model"]["problem"] == "the worker has ended"
    assert parts["model"]["remedy"]
    assert server.http.get("/livez").status_code == 200


def test_a_model_that_never_answers_does_not_hold_up_the_question(
    server: ServedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> frozenset[str]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("runtime.health.ANSWER_LIMIT_S", 0.05)
    monkeypatch.setattr(server.policy, "adapters", hang)
    _, body, parts = ready(server)
    assert "model" in body["missing"]
    assert "no answer within" in parts["model"]["problem"]


def test_a_database_that_is_gone(server: ServedApp, tmp_path: Path) -> None:
    server.services.engine.dispose()
    (tmp_path / "hone.db").unlink()
    (tmp_path / "hone.db").mkdir()
    status, body, parts = ready(server)
    assert (status, "database" in body["missing"]) == (503, True)
    assert "HONE_DATABASE_URL" in parts["database"]["remedy"]


def test_a_disk_that_is_full(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer, disk_floor_mb=10**12) as server:
        status, body, parts = ready(server)
    assert (status, body["missing"]) == (503, ["disk"])
    assert "the floor is 1000000000000 MB" in parts["disk"]["problem"]
    assert "HONE_DISK_FLOOR_MB" in parts["disk"]["remedy"]


@pytest.mark.parametrize("name", ["deployment", "answers", "journal"])
def test_a_follower_that_has_stopped(server: ServedApp, name: str) -> None:
    task = server.services.followers[name]
    task.get_loop().call_soon_threadsafe(task.cancel)
    while not task.done():
        server.http.get("/livez")
    status, body, parts = ready(server)
    assert (status, body["missing"]) == (503, [f"{name} follower"])
    assert parts[f"{name} follower"]["remedy"] == "restart the server"


def test_secrets_that_do_not_open_are_told_while_turns_are_served(server: ServedApp, tmp_path: Path) -> None:
    server.http.put("/v1/secrets/PETS", json={"value": "a-value", "hosts": ["pets.example.com"]})
    (tmp_path / "master.key").unlink()
    status, body, parts = ready(server)
    assert (status, body["status"]) == (200, "degraded")
    assert "put that key back" in parts["secrets"]["problem"]
    assert "a-value" not in str(body)


def test_a_server_that_stops_says_so_at_once(server: ServedApp) -> None:
    server.services.turns.stop_taking()
    status, body, parts = ready(server)
    assert (status, body["missing"]) == (503, ["turns"])
    assert "takes no new turns" in parts["turns"]["problem"]
    refused = server.chat("hi")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
    assert refused.headers["retry-after"] == "1"


def test_each_vllm_server_is_named_and_one_that_is_down_only_degrades(tmp_path: Path, renderer: Renderer) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from runtime.app import create_app
    from runtime.settings import Settings

    vllm = FastAPI()

    @vllm.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": "base", "root": "base", "parent": None}]}

    with serving(vllm) as up:
        down = f"http://127.0.0.1:{free_port()}"
        policy = VllmPolicy([up, down], "base", context_length=2048)
        app = create_app(Settings(home=tmp_path, builtin_tools=False), policy=policy, renderer=renderer)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            body = client.get("/readyz").json()
            parts = {part["name"]: part for part in body["parts"]}
            assert body["status"] == "degraded"
            assert parts[f"vllm {up}"]["status"] == "ok"
            assert parts[f"vllm {down}"]["status"] == "failed"
            assert "HONE_VLLM_URLS" in parts[f"vllm {down}"]["remedy"]
            assert parts["model"]["status"] == "ok"
            assert client.portal is not None
            client.portal.call(policy.close)


def test_a_database_of_another_revision_is_not_current(engine: sa.Engine) -> None:
    assert check_current(engine) is None
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    assert "is at revision '0001'" in (check_current(engine) or "")


def test_the_answer_is_kept_nowhere(server: ServedApp) -> None:
    answer: httpx2.Response = server.http.get("/readyz")
    assert answer.headers["cache-control"] == "no-store"
