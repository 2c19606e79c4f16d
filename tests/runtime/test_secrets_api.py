"""/v1/secrets: written, listed, removed, re-wrapped, and never read back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.http_service import build_service
from tests.tools.serving import serving
from tools.secret_bounds import Bounds, host_entry

HOST = "api.example.com"


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, executor=None) as served:
        yield served


def put(server: ServedApp, name: str, value: Any, *, host: str = HOST, **others: Any) -> Any:
    return server.http.put(f"/v1/secrets/{name}", json={"value": value, "hosts": [host]}, **others)


def test_a_secret_is_set_changed_listed_and_removed_and_its_value_is_never_shown(server: ServedApp) -> None:
    first, second = put(server, "PETS", "canary-one"), put(server, "PETS", "canary-two")
    assert (first.status_code, second.status_code) == (201, 200)
    listed = server.http.get("/v1/secrets")
    (shown,) = listed.json()["data"]
    assert (shown["name"], shown["version"], shown["opens"]) == ("PETS", 2, True)
    assert (shown["hosts"], shown["tools"]) == ([HOST], [])
    assert shown["created_at"] < shown["changed_at"]
    read = server.http.get("/v1/secrets/PETS")
    assert read.status_code == 405
    assert "canary" not in first.text + second.text + listed.text + read.text
    assert server.http.delete("/v1/secrets/PETS").status_code == 204
    assert server.http.get("/v1/secrets").json()["data"] == []
    gone = server.http.delete("/v1/secrets/PETS")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "secret_not_found")


def test_a_running_tool_takes_the_new_value_at_its_next_call(server: ServedApp) -> None:
    with serving(build_service()) as service:
        endpoint = {"url": f"{service}/menu", "method": "GET", "auth": [{"kind": "bearer", "secret": "SHOP"}]}
        tool = {"name": "menu", "parameters": {"type": "object"}, "endpoint": endpoint}
        assert server.http.post("/v1/tools", json=tool).status_code == 201

        def call() -> dict[str, Any]:
            server.policy.script = [execute(("menu", {})), "There you are."]
            return server.chat("the menu please").json()["hone"]["steps"][0]["calls"][0]

        missing = call()
        assert missing["status"] == "failed"
        assert "store it with hone secrets set SHOP --host" in missing["result"]
        put(server, "SHOP", "canary-one", host=host_entry(service))
        assert call()["status"] == "ok"
        server.http.delete("/v1/secrets/SHOP")
        assert call()["status"] == "failed"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("sk-canary-1", {"value": "a-value"}),
        ("PETS", {"value": "canary\nline"}),
        ("PETS", {"value": ["canary"]}),
        ("PETS", {"value": {"canary": 1}}),
        ("PETS", "canary"),
        ("PETS", {"value": "abc"}),
        ("PETS", {}),
        ("PETS", {"value": "canary-1", "tenant": "x"}),
        ("PETS", {"value": "canary-1"}),
        ("PETS", {"value": "canary-1", "hosts": []}),
        ("PETS", {"value": "canary-1", "hosts": ["*"]}),
        ("PETS", {"value": "canary-1", "hosts": ["https://api.example.com"]}),
        ("PETS", {"value": "canary-1", "hosts": ["api.example.com"], "tools": ["a b"]}),
    ],
)
def test_what_cannot_be_kept_is_400_and_not_repeated(server: ServedApp, name: str, body: Any) -> None:
    response = server.http.put(f"/v1/secrets/{name}", json=body)
    assert response.status_code == 400, response.text
    assert "canary" not in response.text
    assert server.http.get("/v1/secrets").json()["data"] == []


def test_a_body_that_is_no_json_is_not_repeated(server: ServedApp) -> None:
    response = server.http.put(
        "/v1/secrets/PETS", content=b'{"value": canary-1}', headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert "canary" not in response.text


@pytest.mark.parametrize("act", [("PUT", "/v1/secrets/PETS"), ("POST", "/v1/secrets/rotate-key")])
def test_another_sites_page_cannot_write(server: ServedApp, act: tuple[str, str]) -> None:
    put(server, "PETS", "of-operator")
    foreign = {"origin": "https://evil.example"}
    response = server.http.request(*act, json={"value": "of-evil"}, headers=foreign)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign_origin")
    assert server.services.secrets.find("PETS") == ("of-operator", Bounds((HOST,)))


def test_the_master_key_is_changed_while_serving(server: ServedApp) -> None:
    put(server, "PETS", "a-value")
    done = server.http.post("/v1/secrets/rotate-key").json()
    assert done["rewrapped"] == 1
    assert server.services.secrets.find("PETS") == ("a-value", Bounds((HOST,)))


def test_a_lost_key_is_503_with_the_remedy_and_removing_still_works(server: ServedApp, tmp_path: Path) -> None:
    put(server, "PETS", "a-value")
    (tmp_path / "master.key").unlink()
    for response in (put(server, "PETS", "b-value"), server.http.post("/v1/secrets/rotate-key")):
        assert (response.status_code, response.json()["error"]["code"]) == (503, "secrets_locked")
        assert "put that key back" in response.json()["error"]["message"]
    assert server.http.get("/v1/secrets").json()["data"][0]["opens"] is False
    assert server.http.delete("/v1/secrets/PETS").status_code == 204
    assert put(server, "PETS", "b-value").status_code == 200


def test_a_server_whose_key_is_lost_serves_and_says_so_in_its_log(
    tmp_path: Path, renderer: Renderer, capsys: pytest.CaptureFixture[str]
) -> None:
    with served_app(tmp_path, renderer, executor=None) as server:
        put(server, "PETS", "a-value")
    (tmp_path / "master.key").unlink()
    with served_app(tmp_path, renderer, executor=None) as server:
        assert server.http.get("/readyz").status_code == 200
    assert "put that key back" in capsys.readouterr().out


def test_the_description_of_the_interface_says_that_values_are_only_written(server: ServedApp) -> None:
    described = server.http.get("/openapi.json").json()
    assert described["components"]["schemas"]["Value"]["properties"]["value"]["writeOnly"] is True
    assert "get" not in described["paths"]["/v1/secrets/{name}"]
