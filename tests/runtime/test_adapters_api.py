"""/v1/adapters: an operator promotes and rolls back, and the running server follows."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.policy.deployment import AdapterRecord
from runtime.policy.manifest import CONFIG, WEIGHTS, Probe, write_adapter
from runtime.prompt import Renderer
from tests.runtime.served_app import ServedApp, served_app

LOGPROB = {1: -0.1, 2: -0.2, 3: -0.3}
"""Version → what the scripted adapter gives each token."""


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer) as served:
        yield served


def publish(server: ServedApp, version: int, parent: str | None = None, *, trained: float | None = None) -> str:
    """An adapter that proves itself, unless it was `trained` to other logprobs than it serves."""
    home = server.services.settings.home
    source = home / f"trained-{version}"
    source.mkdir()
    (source / WEIGHTS).write_bytes(bytes([version]) * 64)
    (source / CONFIG).write_text(json.dumps({"r": 4}))
    probe = Probe(prompt_ids=(1, 2), completion_ids=(3,), logprobs=(trained or LOGPROB[version],))
    manifest = write_adapter(
        home / "adapters",
        source,
        version=version,
        base_model="scripted",
        base_sha256="b" * 64,
        created_at=datetime(2026, 5, 3, tzinfo=UTC),
        parent=parent,
        batch_ids=["b1"],
        gate={"passed": True},
        probes=[probe],
    )
    server.services.deployment.publish(AdapterRecord.of(manifest, home / "adapters" / manifest.name))
    server.policy.logprob[manifest.name] = LOGPROB[version]
    return manifest.name


def answered_by(server: ServedApp, model: str = "hone") -> str:
    server.policy.script = ["Hi."]
    return server.chat("hi", model=model).headers["x-hone-policy"]


def test_a_promoted_adapter_serves_at_once_and_can_be_rolled_back(server: ServedApp) -> None:
    first = publish(server, 1)
    second = publish(server, 2, parent=first)
    for name in (first, second):
        promoted = server.http.post(f"/v1/adapters/{name}/promote")
        assert promoted.json()["serving"] == promoted.json()["incumbent"] == name
        assert answered_by(server) == name
    listed = server.http.get("/v1/adapters").json()["data"]
    assert [(adapter["name"], adapter["state"]) for adapter in listed] == [(second, "incumbent"), (first, "retired")]
    assert [answered_by(server, model) for model in (f"hone@{first}", "hone@base")] == [first, "<base>"]

    assert server.http.post("/v1/adapters/rollback").json()["serving"] == first
    assert answered_by(server) == first
    assert server.http.post("/v1/adapters/rollback").json()["serving"] is None
    assert answered_by(server) == "<base>"
    assert server.http.post("/v1/adapters/rollback").status_code == 400


def test_a_trace_names_the_adapter_and_its_sha(server: ServedApp) -> None:
    name = publish(server, 1)
    server.http.post(f"/v1/adapters/{name}/promote")
    server.policy.script = ["Hi."]
    trace = server.http.get(f"/v1/traces/{server.chat('hi').headers['x-hone-trace']}").json()
    (record,) = server.services.deployment.list()
    assert (trace["adapter"], trace["adapter_sha256"]) == (name, record.sha256)


def test_an_adapter_that_is_not_what_was_trained_does_not_serve(server: ServedApp) -> None:
    name = publish(server, 1, trained=-3.0)
    answer = server.http.post(f"/v1/adapters/{name}/promote").json()
    assert (answer["incumbent"], answer["serving"]) == (name, None)
    assert name in answer["status"]["refused"]
    assert answered_by(server) == "<base>"
    ready = server.http.get("/readyz")
    assert ready.status_code == 200
    assert name in ready.json()["adapters"]["refused"]


def test_a_rejected_adapter_cannot_be_promoted(server: ServedApp) -> None:
    name = publish(server, 1)
    server.services.deployment.reject(name, "no better")
    response = server.http.post(f"/v1/adapters/{name}/promote")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "adapter_rejected")


def test_a_rollback_passes_over_rejected_ancestors(server: ServedApp) -> None:
    first = publish(server, 1)
    second = publish(server, 2, parent=first)
    third = publish(server, 3, parent=second)
    for name in (first, second, third):
        server.http.post(f"/v1/adapters/{name}/promote")
    server.services.deployment.reject(second, "found out later")
    assert server.http.post("/v1/adapters/rollback").json()["serving"] == first


def test_an_adapter_pointed_at_before_the_start_serves_from_the_start(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer) as server:
        name = publish(server, 1)
        server.services.deployment.point("incumbent", name)
    with served_app(tmp_path, renderer, logprob={name: LOGPROB[1]}) as again:
        assert answered_by(again) == name
