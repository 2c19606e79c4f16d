"""`hone tools add` with definitions from a file and from a URL."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from typer.testing import CliRunner

from hone.__main__ import app
from tests.tools.serving import serving
from tools.errors import BadToolSpec, DestinationRefused, SecretOutOfBounds

DEFINITION = {
    "name": "order",
    "description": "Order a drink.",
    "parameters": {"type": "object", "properties": {"drink": {"type": "string"}}},
    "endpoint": {"url": "http://127.0.0.1:9/orders"},
}


def test_a_definition_is_read_from_a_url_along_a_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_ALLOWED_NETWORKS", "127.0.0.1")
    developer = FastAPI()
    developer.get("/order.json")(lambda: RedirectResponse("/v2/order.json"))
    developer.get("/v2/order.json")(lambda: DEFINITION)
    with serving(developer) as url:
        result = CliRunner().invoke(
            app, ["tools", "add", f"{url}/order.json", "--home", str(tmp_path), "--json", "-"], catch_exceptions=False
        )
    assert [tool["name"] for tool in json.loads(result.stdout)["tools"]] == ["order"]


def test_a_definition_on_this_machine_is_refused_unless_that_is_allowed_and_nothing_registered(tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text(json.dumps(DEFINITION))
    for source in (str(file), "http://127.0.0.1:9/order.json"):
        with pytest.raises(DestinationRefused, match=r"http://127\.0\.0\.1:9/.*HONE_ALLOWED_NETWORKS"):
            CliRunner().invoke(app, ["tools", "add", source, "--home", str(tmp_path)], catch_exceptions=False)
    listed = CliRunner().invoke(app, ["tools", "list", "--home", str(tmp_path), "--json", "-"], catch_exceptions=False)
    assert json.loads(listed.stdout)["tools"] == []


def test_a_definition_that_is_no_json_is_named(tmp_path: Path) -> None:
    file = tmp_path / "order.json"
    file.write_text("{\n oops")
    with pytest.raises(BadToolSpec, match=r"order\.json: line 2: not JSON"):
        CliRunner().invoke(app, ["tools", "add", str(file), "--home", str(tmp_path)], catch_exceptions=False)


def test_tools_are_listed_by_tag_owner_and_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_ALLOWED_NETWORKS", "127.0.0.1")
    for name, tags, owner in (("a", ["travel"], "ann"), ("b", ["travel", "beta"], "ann"), ("c", ["food"], "bob")):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps({**DEFINITION, "name": name, "tags": tags, "owner": owner}))
        CliRunner().invoke(app, ["tools", "add", str(file), "--home", str(tmp_path)], catch_exceptions=False)
    CliRunner().invoke(app, ["tools", "disable", "a", "--home", str(tmp_path)], catch_exceptions=False)

    def listed(*options: str) -> list[str]:
        arguments = ["tools", "list", *options, "--home", str(tmp_path), "--json", "-"]
        return [tool["name"] for tool in json.loads(CliRunner().invoke(app, arguments).stdout)["tools"]]

    assert listed("--tag", "travel") == ["a", "b"]
    assert listed("--tag", "travel", "--tag", "beta") == ["b"]
    assert listed("--owner", "bob") == ["c"]
    assert listed("--owner", "ann", "--state", "active") == ["b"]
    assert CliRunner().invoke(app, ["tools", "list", "--state", "gone"]).exit_code == 2
    assert CliRunner().invoke(app, ["tools", "list", "--drafts", "--state", "active"]).exit_code == 2


def test_a_secret_of_an_mcp_server_is_given_by_name(tmp_path: Path) -> None:
    def add(*options: str) -> Any:
        return CliRunner().invoke(app, ["tools", "add", *options, "--home", str(tmp_path)])

    bind = ["secrets", "set", "SHOP", "--host", "api.example.com", "--home", str(tmp_path)]
    assert CliRunner().invoke(app, bind, input="a-value").exit_code == 0
    for options in (
        ("--mcp-url", "https://93.184.215.14/mcp", "--secret", "SHOP"),
        ("--mcp-url", "https://93.184.215.14/mcp", "--secret", "X-Key=SHOP"),
        ("--mcp-command", "npx -y shop", "--secret", "SHOP_KEY=SHOP"),
    ):
        refused = add(*options)
        assert isinstance(refused.exception, SecretOutOfBounds), options
        assert "SHOP: it may go to api.example.com, not to " in str(refused.exception)
    assert isinstance(add("--mcp-url", "https://93.184.215.14/mcp", "--secret", "sk-live-1").exception, BadToolSpec)
    assert add("--mcp-command", "npx -y shop", "--secret", "SHOP").exit_code == 2
    assert add("--builtin", "--secret", "SHOP").exit_code == 2
