"""`hone tools calls` and `hone tools settle`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hone.home import open_home
from hone.tools_command import app
from tests.runtime.agent_parts import tool
from tools.errors import CallNotUnknown
from tools.spec import SideEffect


def run(home: Path, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With one call whose end is not known, and one that is under way."""
    with open_home(home=tmp_path) as here:
        for call_id in ("c1", "c2"):
            here.journal.begin(tool("pay", side_effect=SideEffect.WRITE), {"city": "Oslo"}, call_id, "a server")
        here.journal.give_up(here.journal.get("c1"))
    return tmp_path


def test_unknown_calls_are_listed_with_the_remedy_and_settled(home: Path) -> None:
    everything = json.loads(run(home, "calls", "--json", "-"))["calls"]
    assert [(call["id"], call["status"]) for call in everything] == [("c2", "started"), ("c1", "unknown")]
    assert [call["id"] for call in json.loads(run(home, "calls", "--unknown", "--json", "-"))["calls"]] == ["c1"]
    assert "hone tools settle" in run(home, "calls", "--unknown")
    assert "c1 is ok" in run(home, "settle", "c1", "ok", "--result", "paid", "--note", "asked the bank")
    assert json.loads(run(home, "calls", "--unknown", "--json", "-"))["calls"] == []
    assert "hone tools settle" not in run(home, "calls")


def test_what_is_not_unknown_cannot_be_settled(home: Path) -> None:
    with pytest.raises(CallNotUnknown, match="'c2' is started"):
        run(home, "settle", "c2", "failed")
    run(home, "settle", "c1", "maybe", code=2)
