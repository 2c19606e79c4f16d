"""The requests that Open WebUI sends to a connection (backend/open_webui/routers/openai.py), as its code shapes them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.access.roles import Role
from runtime.prompt import Renderer
from runtime.traces.schema import TraceStatus
from tests.runtime.served_app import ServedApp, served_app
from tools.tenancy import for_tenant

BEARER = {"Authorization": "Bearer sk-whatever"}
AS_JSON = {"Content-Type": "application/json", **BEARER}
USER = {
    "X-OpenWebUI-User-Name": "Ada%20L",
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-User-Email": "ada@example.org",
    "X-OpenWebUI-User-Role": "admin",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path_factory.mktemp("home"), renderer) as served:
        yield served


def test_the_connection_check_passes(server: ServedApp) -> None:
    """It sends a content type with a GET that has no body, and takes 200 with JSON for a yes."""
    checked = server.http.get("/v1/models", headers=AS_JSON)
    assert checked.status_code == 200
    assert checked.json()["data"]


def test_the_models_are_those_that_it_can_choose_from(server: ServedApp) -> None:
    """It wants a list under `data`, each with an id that no `name` of null stands beside, and no `error`."""
    listed = server.http.get("/v1/models", headers={**BEARER, **USER}).json()
    assert "error" not in listed
    assert "hone" in [model["id"] for model in listed["data"]]
    assert all(model.get("name", model["id"]) for model in listed["data"])


def test_a_chat_is_streamed_to_it(server: ServedApp) -> None:
    server.policy.script = ["Hello from hone."]
    body = {
        "stream": True,
        "model": "hone",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}],
        "stream_options": {"include_usage": True},
        "user": {"name": "Ada", "id": "1", "email": "ada@example.org", "role": "admin"},
    }
    answered = server.http.post("/v1/chat/completions", content=json.dumps(body), headers={**AS_JSON, **USER})
    assert "text/event-stream" in answered.headers["content-type"]
    data = [line.removeprefix("data: ") for line in answered.text.splitlines() if line.startswith("data: ")]
    assert data[-1] == "[DONE]"
    chunks = [json.loads(part) for part in data[:-1]]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == "Hello from hone."


def test_a_connection_with_a_key_is_served_and_one_with_a_wrong_key_is_told_so(
    tmp_path: Path, renderer: Renderer
) -> None:
    """A key is what its connection dialogue asks for; it goes out as a bearer token, and what `error` says is shown."""
    with served_app(tmp_path / "home", renderer, ["Hello."]) as served:
        with for_tenant("acme"):
            _, key = served.services.keys.create("webui", role=Role.USER, acts_for_others=True)
        wrong = served.http.get("/v1/models", headers=AS_JSON)
        right = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **USER}
        listed = served.http.get("/v1/models", headers=right)
        body = {"model": "hone", "messages": [{"role": "user", "content": "hi"}], "user": "1"}
        answered = served.http.post("/v1/chat/completions", json=body, headers=right)
        with for_tenant("acme"):
            trace = served.services.traces.get(answered.headers["x-hone-trace"])
    assert wrong.status_code == 401
    assert "not known here" in wrong.json()["error"]["message"]
    assert "hone" in [model["id"] for model in listed.json()["data"]]
    assert answered.json()["choices"][0]["message"]["content"] == "Hello."
    assert trace.status is TraceStatus.FINISHED
