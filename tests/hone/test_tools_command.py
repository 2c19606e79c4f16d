"""`hone tools add` with definitions from a file and from a URL."""

import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.responses import RedirectResponse
from typer.testing import CliRunner

from hone.__main__ import app
from tests.tools.serving import serving
from tools.errors import BadToolSpec, DestinationRefused

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
