"""`hone tools test`, `hone tools import --live --test`, against a real service."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from typer.testing import CliRunner

from hone.home import open_home
from hone.tools_command import app
from tests.tools.serving import serving
from tests.tools.tea_shop import build_shop


@pytest.fixture
def shop() -> FastAPI:
    return build_shop()


@pytest.fixture
def url(shop: FastAPI) -> Iterator[str]:
    with serving(shop) as url:
        yield url


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HONE_ALLOWED_NETWORKS", "127.0.0.1")
    return tmp_path / "home"


def run(home: Path, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--home", str(home)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_one_command_leads_from_a_description_to_tools_in_service_that_were_called(
    home: Path, url: str, shop: FastAPI
) -> None:
    told = json.loads(run(home, "import", f"{url}/openapi.json", "--base-url", url, "--live", "--test", "--json", "-"))
    by_tool = {trial["tool"]: trial for trial in told["trials"]}
    assert by_tool["find_tea"]["status"] == "ok"
    assert json.loads(by_tool["find_tea"]["result"]) == {"found": "green tea"}
    assert by_tool["get_tea"]["reason"] == "no value is known for number: give the arguments"
    assert by_tool["order_tea"]["reason"] == "its side effect is write: say that it may be called (--yes, may_change)"
    assert by_tool["broken"]["status"] == "failed"
    assert shop.state.orders == []
    with open_home(home=home) as here:
        assert {spec.name for spec in here.catalogue.list()} == set(by_tool)


def test_a_tool_is_called_with_given_arguments_and_a_write_only_when_told_so(
    home: Path, url: str, shop: FastAPI
) -> None:
    run(home, "import", f"{url}/openapi.json", "--base-url", url)
    assert "number" in run(home, "test", "get_tea", "--draft", "--arguments", '{"number": 3}')
    (kept,) = json.loads(run(home, "test", "order_tea", "--draft", "--json", "-"))["trials"]
    assert kept["reason"] == "its side effect is write: say that it may be called (--yes, may_change)"
    assert shop.state.orders == []
    assert "ordered" in run(home, "test", "order_tea", "--draft", "--yes")
    assert shop.state.orders == ["tea"]
    (call,) = json.loads(run(home, "calls", "--tool", "order_tea", "--json", "-"))["calls"]
    assert (call["status"], call["result"]) == ("ok", '"ordered"')


def test_a_call_that_fails_is_told_by_the_exit_code(home: Path, url: str) -> None:
    run(home, "import", f"{url}/openapi.json", "--base-url", url, "--live")
    assert "failed" in run(home, "test", "--all", code=1)
    run(home, "test", code=2)
    run(home, "test", "get_tea", "--arguments", "[3]", code=2)
