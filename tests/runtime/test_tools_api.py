"""/v1/tools: registering HTTP tools and MCP servers, and using what was registered."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.prompt import Renderer
from tests.runtime.agent_parts import CITY, execute
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.http_service import build_service
from tests.tools.serving import free_port, serving
from tools.execution import Executor
from tools.importers.survey import Survey
from tools.spec import HttpBackend, ToolSpec

MCP_SERVER = Path(__file__).parents[1] / "tools" / "mcp_server.py"
ORDER = {
    "type": "object",
    "properties": {"drink": {"type": "string"}, "cups": {"type": "integer"}},
    "required": ["drink"],
}


def definition(url: str, **changes):
    order = {"name": "order", "description": "Order a drink.", "parameters": ORDER, "approval": "waived"}
    return {**order, "endpoint": {"url": url}, **changes}


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, executor=None) as served:
        yield served


def test_an_http_tool_is_registered_used_shown_and_removed(server: ServedApp) -> None:
    with serving(build_service()) as service:
        endpoint = {"url": f"{service}/orders", "headers": {"x-branch": "hidden"}}
        made = server.http.post("/v1/tools", json=definition("", endpoint=endpoint))
        assert made.status_code == 201, made.text
        assert made.json()["name"] == "order"
        server.policy.script = [execute(("order", {"drink": "tea"})), "Ordered."]
        reply = server.chat("tea please").json()
    (call,) = reply["hone"]["steps"][0]["calls"]
    assert call["status"] == "ok"
    assert '"tea"' in call["result"]
    listed = server.http.get("/v1/tools")
    assert [shown["name"] for shown in listed.json()["data"]] == ["order"]
    assert "hidden" not in made.text + listed.text + server.http.get("/v1/tools/order").text
    assert server.http.delete("/v1/tools/order").status_code == 204
    assert server.http.get("/v1/tools").json()["data"] == []
    assert server.http.get("/v1/tools/order").status_code == 404
    assert server.http.delete("/v1/tools/order").status_code == 404


def test_an_endpoint_that_is_down_is_shown_to_the_policy(server: ServedApp) -> None:
    server.http.post("/v1/tools", json=definition(f"http://127.0.0.1:{free_port()}/orders"))
    server.policy.script = [execute(("order", {"drink": "tea"})), "The shop is closed."]
    reply = server.chat("tea please").json()
    assert reply["choices"][0]["message"]["content"] == "The shop is closed."
    assert reply["hone"]["steps"][0]["calls"][0]["status"] == "failed"


def test_a_taken_name_is_a_conflict_unless_replaced(server: ServedApp) -> None:
    body = definition("http://127.0.0.1:9/orders")
    assert server.http.post("/v1/tools", json=body).status_code == 201
    taken = server.http.post("/v1/tools", json=body)
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "duplicate_tool")
    changed = {**body, "description": "Better.", "replace": True}
    assert server.http.post("/v1/tools", json=changed).json()["description"] == "Better."


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"parameters": {"type": "objekt"}}, "$.parameters.type"),
        ({"parameters": {**ORDER, "required": "drink"}}, "$.parameters.required"),
        ({"parameters": {"type": "object", "properties": {"a": {"$ref": "https://x"}}}}, "$.parameters.properties.a"),
        ({"parameters": "x"}, "$.parameters"),
        ({"name": "two words"}, "$.name"),
        ({"name": "decline"}, "$.name"),
        ({"endpoint": {"url": "ftp://x"}}, "$.endpoint.url"),
        ({"endpoint": {"url": "http://x", "method": "BREW"}}, "$.endpoint.method"),
        ({"colour": "red"}, "$.colour"),
        ({"timeout_s": -1}, "$.timeout_s"),
    ],
)
def test_a_bad_definition_is_400_and_names_the_path(server: ServedApp, changes: dict, path: str) -> None:
    response = server.http.post("/v1/tools", json=definition("http://127.0.0.1:9/orders", **changes))
    assert response.status_code == 400, response.text
    assert path in response.json()["error"]["message"]
    assert server.http.get("/v1/tools").json()["data"] == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"mcp": 5}, "mcp"),
        ({"mcp": {"url": 5}}, "mcp.url"),
        ({"mcp": {"transport": "pigeon"}}, "mcp"),
        ({"mcp": {"command": "x"}, "name": "y"}, "name"),
        ({"mcp": {"url": "http://127.0.0.1:9/mcp", "prefix": 4}}, "mcp.prefix"),
        ({"replace": "yes"}, "replace"),
        ({"mcp": {"command": "python"}}, "mcp.command"),
    ],
)
def test_a_bad_server_is_400_and_names_the_field(server: ServedApp, body: dict, param: str) -> None:
    response = server.http.post("/v1/tools", json=body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_an_mcp_server_that_is_down_is_502(server: ServedApp) -> None:
    response = server.http.post("/v1/tools", json={"mcp": {"url": f"http://127.0.0.1:{free_port()}/mcp"}})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "import_failed")


def test_a_token_server_in_the_private_network_is_403_too(tmp_path: Path, renderer: Renderer) -> None:
    auth = {"kind": "client_credentials", "token_url": "http://10.0.0.1/token", "secret": "PAIR"}
    endpoint = {"url": "https://93.184.215.14/orders", "auth": [auth]}
    with served_app(tmp_path, renderer, executor=None, allowed_networks=()) as server:
        response = server.http.post("/v1/tools", json=definition("", endpoint=endpoint))
    assert response.status_code == 403
    assert "http://10.0.0.1/token is refused" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        definition("http://127.0.0.1:9/orders?page=s3cret"),
        definition("http://169.254.169.254/orders"),
        {"mcp": {"url": "http://localhost:9/mcp"}},
    ],
)
def test_an_address_in_the_private_network_is_403_naming_it_and_the_setting(
    tmp_path: Path, renderer: Renderer, body: dict
) -> None:
    with served_app(tmp_path, renderer, executor=None, allowed_networks=()) as server:
        response = server.http.post("/v1/tools", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "destination_refused")
        message = response.json()["error"]["message"]
        url = body["mcp"]["url"] if "mcp" in body else body["endpoint"]["url"]
        assert url.partition("?")[0] in message
        assert "HONE_ALLOWED_NETWORKS" in message
        assert "s3cret" not in message
        assert server.http.get("/v1/tools").json()["data"] == []


def test_a_tool_whose_address_is_no_longer_allowed_fails_in_words_that_the_policy_reads(
    tmp_path: Path, renderer: Renderer
) -> None:
    with serving(build_service()) as service:
        with served_app(tmp_path, renderer, executor=None) as server:
            assert server.http.post("/v1/tools", json=definition(f"{service}/orders")).status_code == 201
        with served_app(tmp_path, renderer, executor=None, allowed_networks=()) as server:
            server.policy.script = [execute(("order", {"drink": "tea"})), "I cannot reach the shop."]
            reply = server.chat("tea please").json()
    (call,) = reply["hone"]["steps"][0]["calls"]
    assert call["status"] == "failed"
    assert f"{service}/orders was not called: 127.0.0.1 is a loopback address" in call["result"]


def test_all_tools_of_an_mcp_server_are_registered_or_none(tmp_path: Path, renderer: Renderer) -> None:
    described = {"command": sys.executable, "args": [str(MCP_SERVER)]}
    with served_app(tmp_path, renderer, executor=None, allow_mcp_stdio=True) as server:
        taken = definition("http://127.0.0.1:9/x", name="find_pet", parameters=CITY)
        server.http.post("/v1/tools", json=taken)
        clash = server.http.post("/v1/tools", json={"mcp": described})
        assert clash.status_code == 409
        assert "find_pet" in clash.json()["error"]["message"]
        assert len(server.http.get("/v1/tools").json()["data"]) == 1

        made = server.http.post("/v1/tools", json={"mcp": {**described, "prefix": "pets_"}})
        assert made.status_code == 201, made.text
        assert "pets_find_pet" in [shown["name"] for shown in made.json()["tools"]]
        server.policy.script = [execute(("pets_find_pet", {"species": "cat"})), "Miro waits for you."]
        reply = server.chat("a cat, please").json()
    assert "Miro" in reply["hone"]["steps"][0]["calls"][0]["result"]


def test_a_body_that_is_no_object_is_400(server: ServedApp) -> None:
    assert server.http.post("/v1/tools", json=[1]).status_code == 400


def test_an_executor_of_ones_own_is_left_open(tmp_path: Path, renderer: Renderer) -> None:
    executor = Executor.for_home(tmp_path)
    with served_app(tmp_path, renderer, executor=executor) as server:
        assert server.http.get("/v1/tools").status_code == 200
    import asyncio

    asyncio.run(executor.close())


def test_tools_and_drafts_are_listed_by_tag_owner_and_state_a_page_at_a_time(server: ServedApp) -> None:
    def names(path: str) -> list[str]:
        return [tool["name"] for tool in server.http.get(path).json()["data"]]

    def tagged(name: str, *tags: str, owner: str) -> ToolSpec:
        backend = HttpBackend(url="https://93.184.215.14/x")
        return ToolSpec(name=name, parameters={"type": "object"}, backend=backend, tags=tags, owner=owner)

    specs = (
        tagged("a", "travel", owner="ann"),
        tagged("b", "travel", "beta", owner="ann"),
        tagged("c", "food", owner="bob"),
    )
    server.services.catalogue.add_all(specs)
    server.services.holds.disable("c")
    server.services.drafts.import_all(Survey((tagged("d", "food", owner="bob"), tagged("e", owner="ann")), ()), "test")
    assert names("/v1/tools?tag=travel") == ["a", "b"]
    assert names("/v1/tools?tag=travel&tag=beta") == ["b"]
    assert names("/v1/tools?owner=bob") == names("/v1/tools?state=disabled") == ["c"]
    assert names("/v1/tools?owner=ann&state=active&limit=1") == ["a"]
    assert names("/v1/tools?tag=nothing") == []
    first = server.http.get("/v1/tools?limit=2").json()
    assert ([tool["name"] for tool in first["data"]], first["next"]) == (["a", "b"], "b")
    last = server.http.get("/v1/tools?limit=2&after=b").json()
    assert ([tool["name"] for tool in last["data"]], last["next"]) == (["c"], None)
    assert names("/v1/tool-drafts?tag=food") == ["d"]
    assert names("/v1/tool-drafts?limit=1&after=d") == ["e"]
    for wrong in ("state=gone", "limit=0"):
        refused = server.http.get(f"/v1/tools?{wrong}")
        assert refused.status_code == 400
        assert wrong.partition("=")[0] in refused.json()["error"]["message"]
