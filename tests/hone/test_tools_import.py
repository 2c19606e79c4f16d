"""`hone tools import`, `edit`, `publish` and `discard`."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hone.tools_command import app
from tests.tools.http_service import build_service
from tests.tools.serving import serving
from tools.errors import DestinationRefused, ImportFailed

SPECS = Path(__file__).parents[1] / "tools" / "specs"


def run(home: Path, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def as_json(home: Path, *arguments: str) -> Any:
    return json.loads(run(home, *arguments, "--json", "-"))


def test_from_a_url_to_tools_in_service_in_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_ALLOWED_NETWORKS", "127.0.0.1")
    with serving(build_service()) as service:
        url = f"{service}/openapi.json"
        told = as_json(tmp_path, "import", url, "--only", "POST /orders", "--only", "GET /menu", "--live")
    assert len(told["tools"]) == 2
    assert told["skipped"] == []
    assert len(as_json(tmp_path, "list")["tools"]) == 2


def test_what_lies_on_this_machine_is_refused_or_left_out_unless_that_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(
        DestinationRefused, match=r"http://127\.0\.0\.1:9/openapi\.json is refused: .*HONE_ALLOWED_NETWORKS"
    ):
        run(tmp_path, "import", "http://127.0.0.1:9/openapi.json")
    spec = str(SPECS / "harbour-3.0.yaml")
    told = run(tmp_path, "import", spec, "--only", "ships.list", "--base-url", "http://127.0.0.1:9", code=1)
    assert "left out: ships_list: http://127.0.0.1:9 is refused: 127.0.0.1 is a loopback address" in told


def test_from_a_file_through_drafts(tmp_path: Path) -> None:
    spec = str(SPECS / "harbour-3.0.yaml")
    told = run(tmp_path, "import", spec, "--secret", "basic=HARBOUR", "--secret", "session=SESSION")
    assert "drafts (11): ships_list" in told
    assert "left out: papers.scan: takes application/pdf" in told
    for name in ("BEARER", "HARBOUR", "KEY_COOKIE"):
        assert f"calls take a secret: hone secrets set {name} --host " in told
    assert as_json(tmp_path, "list")["tools"] == []
    run(tmp_path, "edit", "ships_get", "--rename", "ship", "--drop", "X-Fields")
    shown = as_json(tmp_path, "show", "ship", "--draft")
    assert list(shown["parameters"]["properties"]) == ["id"]
    run(tmp_path, "discard", "manifest_store")
    run(tmp_path, "publish", "ship", "ships_list")
    assert [tool["name"] for tool in as_json(tmp_path, "list")["tools"]] == ["ship", "ships_list"]
    run(tmp_path, "publish", "--all")
    assert as_json(tmp_path, "list", "--drafts")["tools"] == []
    assert len(as_json(tmp_path, "list")["tools"]) == 10


def test_an_import_that_keeps_nothing_fails_with_the_reasons(tmp_path: Path) -> None:
    told = run(tmp_path, "import", str(SPECS / "harbour-3.0.yaml"), "--only", "papers.scan", code=1)
    assert "left out: papers.scan" in told
    assert "/paths/~1ships~1{id}~1scan/post/requestBody/content" in told.replace(" ", "")


def test_a_file_that_is_no_description_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [1\n")
    with pytest.raises(ImportFailed, match=r"x\.yaml: line 2"):
        run(tmp_path, "import", str(tmp_path / "x.yaml"))


@pytest.mark.parametrize(
    "arguments",
    [("publish",), ("publish", "a", "--all"), ("import", "x.yaml", "--secret", "token"), ("edit", "a", "--fix", "=1")],
)
def test_wrong_usage_is_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run(tmp_path, *arguments, code=2)
