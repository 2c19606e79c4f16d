"""/v1/tools/import and drafts over HTTP, up to a call that the agent makes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.prompt import Renderer
from tests.runtime.agent_parts import execute
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.http_service import build_service
from tests.tools.openapi_specs import operation, spec
from tests.tools.serving import free_port, serving

PETS = spec({"/pets": {"get": operation(operationId="listPets"), "post": {"requestBody": 5, "operationId": "addPet"}}})


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, executor=None) as served:
        yield served


def test_a_services_own_description_becomes_a_tool_that_the_agent_uses(server: ServedApp) -> None:
    with serving(build_service()) as service:
        made = server.http.post("/v1/tools/import", json={"url": f"{service}/openapi.json", "only": ["POST /orders"]})
        assert made.status_code == 201, made.text
        (draft,) = made.json()["tools"]
        assert server.http.get("/v1/tools").json()["data"] == []
        path = f"/v1/tools/{draft['name']}"
        change = {"name": "order", "description": "Order a drink.", "approval": "waived"}
        changed = server.http.patch(f"{path}/draft", json=change)
        assert (changed.json()["description"], changed.json()["approval"]) == ("Order a drink.", "waived")
        assert server.http.get("/v1/tool-drafts").json()["data"][0]["source"] == f"{service}/openapi.json"
        published = server.http.post("/v1/tools/order/publish")
        assert published.status_code == 201, published.text
        assert server.http.get("/v1/tools/order/draft").status_code == 404
        server.policy.script = [execute(("order", {"drink": "tea", "cups": 2})), "Ordered."]
        (call,) = server.chat("two teas please").json()["hone"]["steps"][0]["calls"]
    assert call["status"] == "ok"
    assert '"cups": 2' in call["result"]


def test_what_is_left_out_is_named_with_its_place(server: ServedApp) -> None:
    made = server.http.post("/v1/tools/import", json={"openapi": PETS, "live": True})
    assert [tool["name"] for tool in made.json()["tools"]] == ["listPets"]
    assert made.json()["skipped"] == [
        {
            "name": "addPet",
            "reason": "must be an object, not a number",
            "place": "/paths/~1pets/post/requestBody",
        }
    ]
    again = server.http.post("/v1/tools/import", json={"openapi": PETS, "live": True})
    assert (again.status_code, again.json()["tools"], len(again.json()["skipped"])) == (200, [], 2)


def test_a_draft_is_discarded(server: ServedApp) -> None:
    server.http.post("/v1/tools/import", json={"openapi": PETS})
    assert server.http.delete("/v1/tools/listPets/draft").status_code == 204
    assert server.http.delete("/v1/tools/listPets/draft").status_code == 404
    assert server.http.post("/v1/tools/listPets/publish").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({}, 400, "give one of url, text and openapi"),
        ({"text": "a", "openapi": {}}, 400, "give one of url, text and openapi"),
        ({"url": "file:///etc/passwd"}, 400, "is no HTTP address"),
        ({"text": "{"}, 400, "text: line 1, column 2: not JSON"),
        ({"openapi": PETS, "only": ["fish"]}, 400, "no operation fits 'fish'"),
        ({"openapi": PETS, "secrets": {"key": "sk-live-1"}}, 400, "key: this is no name of a secret"),
        ({"openapi": PETS, "colour": 1}, 400, "colour"),
    ],
)
def test_a_bad_import_is_one_error_and_keeps_nothing(
    server: ServedApp, body: dict[str, Any], status: int, told: str
) -> None:
    response = server.http.post("/v1/tools/import", json=body)
    assert response.status_code == status, response.text
    assert told in response.json()["error"]["message"]
    assert server.http.get("/v1/tool-drafts").json()["data"] == []


def test_an_address_where_nothing_answers_is_502(server: ServedApp) -> None:
    response = server.http.post("/v1/tools/import", json={"url": f"http://127.0.0.1:{free_port()}/openapi.json"})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "import_failed")


def test_what_lies_in_the_private_network_is_refused_or_left_out(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer, executor=None, allowed_networks=()) as server:
        fetched = server.http.post("/v1/tools/import", json={"url": "http://127.0.0.1:9/openapi.json"})
        assert (fetched.status_code, fetched.json()["error"]["code"]) == (403, "destination_refused")
        given = server.http.post(
            "/v1/tools/import", json={"openapi": PETS, "only": ["listPets"], "base_url": "http://10.0.0.1"}
        )
        assert (given.status_code, given.json()["tools"]) == (200, [])
        assert "http://10.0.0.1 is refused" in given.json()["skipped"][0]["reason"]
        assert "HONE_ALLOWED_NETWORKS" in given.json()["skipped"][0]["reason"]
        assert server.http.get("/v1/tool-drafts").json()["data"] == []


def test_a_change_that_does_not_fit_is_400(server: ServedApp) -> None:
    server.http.post("/v1/tools/import", json={"openapi": PETS})
    response = server.http.patch("/v1/tools/listPets/draft", json={"drop": ["size"]})
    assert response.status_code == 400
    assert "size: no such argument" in response.json()["error"]["message"]
