"""/v1/tools/{name}/report and lint: what a developer is told over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.database import utc_now
from runtime.prompt import Renderer
from runtime.report.measurements import CaseResult, Measurement, Measurements
from runtime.verify.sweep import sweep
from tests.runtime.agent_parts import execute
from tests.runtime.served_app import ServedApp, served_app
from tests.tools.tool_specs import COMPANY, EXAMPLES, tool
from tools.curriculum import curriculum, digest

SPEC = tool(examples=EXAMPLES, owner="travel team", tags=["travel"])
BERGEN = dict(EXAMPLES[0]["arguments"])


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    with served_app(tmp_path, renderer, tools=[SPEC, *COMPANY], results={"find_flights": "three flights"}) as served:
        yield served


def measured(server: ServedApp, *, adapter: str | None, right: bool) -> None:
    cases = curriculum(server.services.catalogue.get("find_flights"), server.services.catalogue.list())
    results = tuple(
        CaseResult(
            case=case.id,
            said=case.expected.utterance,
            truth=case.expected.decision,
            decided=case.expected.decision if right else "answer",
            reward=float(right),
            exact=right,
        )
        for case in cases
    )
    spec = server.services.catalogue.get("find_flights")
    Measurements(server.services.engine).keep(
        Measurement(
            tool=spec.name,
            tool_sha256=spec.sha256,
            cases=digest(spec, cases),
            model="scripted",
            adapter=adapter,
            results=results,
            measured_at=utc_now(),
        )
    )


def test_a_report_tells_of_runs_cases_and_readiness(server: ServedApp) -> None:
    server.policy.script = [execute(("find_flights", BERGEN)), "Here they are."]
    trace_id = server.chat(EXAMPLES[0]["utterance"]).headers["x-hone-trace"]
    sweep(server.services.traces, now=utc_now(), window_s=0.0, final=True)
    report = server.http.get("/v1/tools/find_flights/report").json()
    assert (report["tool"], report["version"], report["owner"], report["tags"]) == (
        "find_flights",
        1,
        "travel team",
        ["travel"],
    )
    assert (report["side"], report["serving"], report["policies"]) == ("train", None, [])
    assert report["cases"] == {"example": 3, "complete": 6, "lacking": 6, "absent": 6}
    assert report["runs"]["outcomes"] == {"ok": 1}
    assert report["runs"]["confusion"]["execute"]["execute"] == 1
    assert report["runs"]["example_traces"]["verified"] == [trace_id]
    assert report["readiness"]["cases"] is None
    assert report["readiness"]["score"] < 20
    assert "100 x" in report["readiness"]["formula"]


def test_figures_of_the_base_and_of_an_adapter_give_its_gain(server: ServedApp) -> None:
    measured(server, adapter=None, right=False)
    measured(server, adapter="hone-v1-00000000", right=True)
    base, adapter = server.http.get("/v1/tools/find_flights/report").json()["policies"]
    assert (base["adapter"], base["gain"], base["exact"], len(base["failed"])) == (None, None, 0.0, 20)
    assert (adapter["adapter"], adapter["gain"], adapter["is_current"]) == ("hone-v1-00000000", 1.0, True)
    assert base["confusion"]["refuse"]["answer"] > 0


def test_figures_of_an_earlier_definition_do_not_count(server: ServedApp) -> None:
    measured(server, adapter=None, right=True)
    before = server.http.get("/v1/tools/find_flights/report").json()["readiness"]
    assert (before["cases"], before["score"]) == (1.0, 100.0)
    server.services.catalogue.add(SPEC.model_copy(update={"description": "Find flights by air."}), replace=True)
    after = server.http.get("/v1/tools/find_flights/report").json()
    assert (after["version"], after["readiness"]["cases"]) == (2, None)
    assert [policy["is_current"] for policy in after["policies"]] == [False]


def test_an_unknown_tool_has_no_report(server: ServedApp) -> None:
    for path in ("report", "lint"):
        response = server.http.get(f"/v1/tools/find_flight/{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "tool_not_found")
        assert "did you mean 'find_flights'" in response.json()["error"]["message"]


def test_findings_come_with_registration_with_the_report_and_alone(server: ServedApp) -> None:
    assert server.http.get("/v1/tool-lint").json()["data"] == []
    vague = {
        "name": "order",
        "description": "Order a drink at the bar.",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        "endpoint": {"url": "http://127.0.0.1:9/orders"},
    }
    made = server.http.post("/v1/tools", json=vague)
    assert made.status_code == 201, made.text
    rules = [finding["rule"] for finding in made.json()["warnings"]]
    assert rules == ["undescribed-parameter", "ambiguous-name"]
    assert {"tool", "path", "rule", "message", "remedy"} == set(made.json()["warnings"][0])
    for path in ("/v1/tool-lint", "/v1/tools/order/lint"):
        assert server.http.get(path).json()["data"] == made.json()["warnings"]
    report = server.http.get("/v1/tools/order/report").json()
    assert report["findings"] == made.json()["warnings"]
    assert report["readiness"]["definition"] == pytest.approx(0.8)


def test_a_bad_example_registers_nothing(server: ServedApp) -> None:
    bad = {
        "name": "order",
        "parameters": {"type": "object", "properties": {}},
        "endpoint": {"url": "http://127.0.0.1:9/orders"},
        "examples": [{"utterance": "tea", "decision": "clarify", "missing": ["drink"]}],
    }
    response = server.http.post("/v1/tools", json=bad)
    assert response.status_code == 400
    assert "$.examples[0].missing[0]" in response.json()["error"]["message"]
    assert server.http.get("/v1/tools/order").status_code == 404
