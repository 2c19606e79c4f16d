"""`hone tools report` and `hone tools lint`, and the warnings of `add` and `import`: the real commands on a real, tiny model."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hone.home import open_home
from hone.learning import evaluation_rows
from hone.tools_command import app
from learner.settings import LearnerSettings
from runtime.policy.deployment import AdapterRecord, Channel
from runtime.policy.manifest import digest_model, write_adapter
from tests.tiny_model import build_adapter, build_tiny_model
from tests.tools.tool_specs import COMPANY, EXAMPLES, tool

SPECS = Path(__file__).parents[1] / "tools" / "specs"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model"))


def run(home: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def as_json(home: Path, *arguments: str) -> Any:
    file = home / "told.json"
    run(home, *arguments, "--json", str(file))
    return json.loads(file.read_text())


def register(home: Path) -> None:
    with open_home(home=home) as here:
        here.catalogue.add_all([tool(examples=EXAMPLES), *COMPANY])


def publish(home: Path, model: Path) -> str:
    """A random adapter, served from now on."""
    source = build_adapter(home / "trained", model, strength=0.5)
    manifest = write_adapter(
        home / "adapters",
        source,
        version=1,
        base_model=str(model),
        base_sha256=digest_model(model),
        created_at=datetime(2026, 5, 3, tzinfo=UTC),
    )
    with open_home(home=home) as here:
        here.deployment.publish(AdapterRecord.of(manifest, home / "adapters" / manifest.name))
        here.deployment.point(Channel.INCUMBENT, manifest.name)
    return manifest.name


def test_measuring_keeps_the_figures_of_the_base_and_of_what_serves(tmp_path: Path, model: Path) -> None:
    register(tmp_path)
    first = as_json(tmp_path, "report", "find_flights", "--measure", "--model", str(model))
    assert [(figures["adapter"], figures["n"]) for figures in first["policies"]] == [(None, 21)]
    assert first["readiness"]["cases"] is not None
    adapter = publish(tmp_path, model)
    second = as_json(tmp_path, "report", "find_flights", "--measure", "--model", str(model))
    base, served = second["policies"]
    assert (base, served["adapter"]) == (first["policies"][0], adapter)
    assert served["gain"] == pytest.approx(served["reward"] - base["reward"])
    told = run(tmp_path, "report", "find_flights")
    assert f"served by {adapter}" in told
    assert "readiness" in told
    assert "100 x (60 cases" in told


def test_an_unmeasured_report_says_how_to_measure(tmp_path: Path) -> None:
    register(tmp_path)
    assert "not measured: hone tools report find_flights --measure" in run(tmp_path, "report", "find_flights")


def test_lint_tells_of_all_tools_of_one_and_of_drafts(tmp_path: Path) -> None:
    register(tmp_path)
    assert run(tmp_path, "lint") == "nothing to mend"
    with open_home(home=tmp_path) as here:
        here.catalogue.add(tool("run", "Runs it."))
    for told in (run(tmp_path, "lint"), run(tmp_path, "report", "run")):
        assert "warning: run: $.description: 'Runs it.' has 2 words" in told
    findings = as_json(tmp_path, "lint", "run")["findings"]
    assert [finding["rule"] for finding in findings] == ["short-description", "ambiguous-name"]
    assert as_json(tmp_path, "lint", "find_flights")["findings"] == []
    run(tmp_path, "import", str(SPECS / "harbour-3.0.yaml"), "--secret", "basic=HARBOUR")
    drafts = {finding["tool"] for finding in as_json(tmp_path, "lint", "--draft")["findings"]}
    assert drafts
    assert drafts.isdisjoint({"run", "find_flights"})


def test_registering_and_importing_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_ALLOWED_NETWORKS", "127.0.0.1")
    file = tmp_path / "order.json"
    definition = {
        "name": "order",
        "parameters": {"type": "object", "properties": {}},
        "endpoint": {"url": "http://127.0.0.1:9/orders"},
    }
    file.write_text(json.dumps(definition))
    assert "warning: order: $.description: there is none" in run(tmp_path, "add", str(file))
    told = as_json(tmp_path, "import", str(SPECS / "harbour-3.0.yaml"), "--secret", "basic=HARBOUR")
    assert {"tool", "path", "rule", "message", "remedy"} == set(told["warnings"][0])


def test_a_draft_is_given_its_owner_tags_examples_and_side(tmp_path: Path) -> None:
    run(tmp_path, "import", str(SPECS / "harbour-3.0.yaml"), "--secret", "basic=HARBOUR")
    file = tmp_path / "examples.json"
    file.write_text(json.dumps([{"utterance": "sink all ships", "decision": "refuse"}]))
    run(
        tmp_path, "edit", "ships_list", "--owner", "harbour", "--tag", "ships", "--examples", str(file), "--never-train"
    )
    shown = as_json(tmp_path, "show", "ships_list", "--draft")
    assert (shown["owner"], shown["tags"], shown["never_train"]) == ("harbour", ["ships"], True)
    assert shown["examples"][0]["utterance"] == "sink all ships"


def test_never_train_tools_measure_candidates_unless_the_operator_brings_rows(tmp_path: Path) -> None:
    apart = tool("rent_boat", "Rent a boat on a lake for an afternoon.", never_train=True)
    with open_home(home=tmp_path) as here:
        here.catalogue.add_all([apart, *COMPANY])
        rows = evaluation_rows(here, None, LearnerSettings())
        assert {name for row in rows if row.data_source == "curriculum" for name in row.extra_info["tool_ids"]} == {
            "rent_boat"
        }
        assert {row.data_source.split("/")[0] for row in rows} == {"curriculum", "synth"}
        own = tmp_path / "own.jsonl"
        own.write_text(rows[0].model_dump_json() + "\n")
        assert evaluation_rows(here, own, LearnerSettings()) == rows[:1]
        assert evaluation_rows(here, None, LearnerSettings(curriculum=0))[0].data_source.startswith("synth")
