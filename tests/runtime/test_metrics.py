"""What Prometheus is shown of a served app: counts of what happened, and how things stand."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from runtime.database import utc_now
from runtime.errors import PolicyUnavailable, StoreError
from runtime.policy.embedded import EmbeddedPolicy
from runtime.policy.swap import BASE, SwapStatus
from runtime.prompt import Renderer
from runtime.telemetry.metrics import MAX_TOOLS, OTHER, Metrics
from runtime.telemetry.standing import Standing
from tests.runtime.agent_parts import clarify, client_tool, execute, refuse, tool
from tests.runtime.served_app import ServedApp, served_app
from tools.spec import CallStatus, SideEffect

CALL = execute(("weather", {"city": "Oslo"}))
ORDER = execute(("order", {"city": "Oslo"}))
SERIES_IN_ALL = 1_000

Labels = dict[str, str]


@pytest.fixture
def server(tmp_path: Path, renderer: Renderer) -> Iterator[ServedApp]:
    tools = [tool(), tool("order", side_effect=SideEffect.WRITE)]
    results = {"weather": "sunny", "order": "done"}
    with served_app(tmp_path, renderer, tools=tools, results=results, approvals_waived=()) as served:
        yield served


def figures(server: ServedApp) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    shown = server.http.get("/metrics")
    assert shown.status_code == 200
    families = text_string_to_metric_families(shown.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(server: ServedApp, name: str, **labels: str) -> float:
    """Zero where there is no such series."""
    return figures(server).get((name, frozenset(labels.items())), 0.0)


@pytest.mark.parametrize(
    ("script", "decision", "outcome"),
    [
        (["Sunny."], "answer", "finished"),
        ([clarify("Where?")], "clarify", "finished"),
        ([refuse("No tool does that.")], "refuse", "finished"),
        ([ORDER], "execute", "waiting"),
        ([PolicyUnavailable("down")], "none", "failed"),
        (["<tool_call>{", "<tool_call>{"], "invalid", "invalid_output"),
    ],
)
def test_a_turn_is_counted_by_its_decision_and_its_end(
    server: ServedApp, script: list[str], decision: str, outcome: str
) -> None:
    server.policy.script = script
    server.chat("hello")
    assert value(server, "hone_turns_total", decision=decision, outcome=outcome) == 1
    assert value(server, "hone_turn_duration_seconds_count") == 1
    assert value(server, "hone_turns_in_progress") == 0


def test_a_turn_with_a_call_shows_where_its_time_and_tokens_went(server: ServedApp) -> None:
    server.policy.script = [CALL, "Sunny."]
    usage = server.chat("weather in Oslo").json()["usage"]
    assert value(server, "hone_policy_tokens_total", type="input") == usage["prompt_tokens"]
    assert value(server, "hone_policy_tokens_total", type="output") == usage["completion_tokens"]
    assert value(server, "hone_tool_calls_total", tool="weather", status="ok") == 1
    for decision in ("execute", "answer"):
        assert value(server, "hone_decision_confidence_count", decision=decision) == 1
        assert 0 < value(server, "hone_decision_confidence_sum", decision=decision) < 1
    assert value(server, "hone_tool_call_duration_seconds_count", tool="weather") == 1
    assert value(server, "hone_traces_total", result="written") == 1
    parts = {p: value(server, "hone_turn_part_duration_seconds_sum", part=p) for p in ("policy", "tools", "record")}
    assert all(parts.values())
    assert sum(parts.values()) <= value(server, "hone_turn_duration_seconds_sum")


def test_calls_that_were_not_made_are_counted_too(server: ServedApp) -> None:
    server.policy.script = [execute(("weather", {})), "Which city?"]
    server.chat("weather")
    assert value(server, "hone_tool_calls_total", tool="weather", status="bad_arguments") == 1


def test_a_trace_that_cannot_be_written_is_counted(server: ServedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(trace: object) -> None:
        raise StoreError("full")

    monkeypatch.setattr(server.services.traces, "record", fail)
    server.policy.script = ["Hi."]
    assert server.chat("hi").status_code == 200
    assert value(server, "hone_traces_total", result="failed") == 1


def test_a_call_that_waits_for_a_person_is_counted_until_it_is_answered(server: ServedApp) -> None:
    server.policy.script = [ORDER, "Ordered."]
    asked = server.chat("order").json()["hone"]["approval"]["id"]
    assert value(server, "hone_approvals_waiting") == 1
    assert server.http.post(f"/v1/approvals/{asked}/approve").status_code == 200
    assert value(server, "hone_approvals_waiting") == 0
    assert value(server, "hone_turns_total", decision="answer", outcome="finished") == 1


def test_names_that_clients_choose_become_no_series(server: ServedApp) -> None:
    for number in range(5):
        server.policy.script = [execute((f"mine_{number}", {})), "?"]
        mine = {"type": "function", "function": {**client_tool(f"mine_{number}").openai()["function"]}}
        server.chat("go", tools=[mine])
        server.http.get(f"/v1/secret-{number}")
        server.http.request(f"WORD{number}", "/livez")
    shown = figures(server)
    assert not [labels for _, labels in shown if any("mine_" in v or "secret" in v or "WORD" in v for _, v in labels)]
    assert value(server, "hone_tool_calls_total", tool=OTHER, status="bad_arguments") > 0
    assert value(server, "hone_http_requests_total", method="GET", route="none", status="404") == 5
    assert len(shown) < SERIES_IN_ALL


def test_tools_beyond_the_bound_are_counted_together() -> None:
    metrics = Metrics()
    for number in range(MAX_TOOLS + 7):
        metrics.tool_withheld(tool(f"tool_{number}"), CallStatus.DECLINED)
    status = SwapStatus(BASE, (), {}, None, None, 0, utc_now())
    shown, _ = metrics.exposition("", Standing(status, None, None, stopping=False))
    families = {family.name: family for family in text_string_to_metric_families(shown.decode())}
    counted = {s.labels["tool"]: s.value for s in families["hone_tool_calls"].samples if s.name.endswith("_total")}
    assert len(counted) == MAX_TOOLS + 1
    assert counted[OTHER] == 7


def test_the_adapter_that_serves_is_named(server: ServedApp) -> None:
    assert value(server, "hone_adapter_info", adapter="<base>", sha256="") == 1
    assert value(server, "hone_adapter_since_timestamp_seconds") > 1_700_000_000


def test_two_servers_in_one_process_do_not_share_their_figures(server: ServedApp, tmp_path: Path, renderer) -> None:
    with served_app(tmp_path / "other", renderer) as other:
        other.policy.script = ["Hi."]
        other.chat("hi")
        assert value(other, "hone_turns_total", decision="answer", outcome="finished") == 1
        assert value(server, "hone_turns_total", decision="answer", outcome="finished") == 0


def test_openmetrics_is_given_to_who_asks_for_it(server: ServedApp) -> None:
    shown = server.http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert shown.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in read_openmetrics(shown.text)} >= {"hone_turns", "hone_adapter_info"}


def test_every_figure_is_explained_and_named_by_prometheus_rules(server: ServedApp) -> None:
    server.policy.script = [CALL, "Sunny."]
    server.chat("weather in Oslo")
    for family in text_string_to_metric_families(server.http.get("/metrics").text):
        assert family.documentation, family.name
        assert family.name.startswith(("hone_", "process_", "python_gc_"))
        assert not family.name.endswith(("_ms", "_milliseconds", "_count", "_minutes"))


def test_a_database_that_fails_leaves_the_rest_of_the_figures(server: ServedApp, monkeypatch) -> None:
    def fail() -> int:
        raise StoreError("gone")

    monkeypatch.setattr(server.services.approvals, "count_waiting", fail)
    assert value(server, "hone_database_up") == 0
    assert value(server, "hone_adapter_info", adapter="<base>", sha256="") == 1


def test_metrics_can_be_switched_off(tmp_path: Path, renderer: Renderer) -> None:
    with served_app(tmp_path, renderer, metrics=False) as server:
        server.policy.script = ["Hi."]
        assert server.chat("hi").status_code == 200
        assert server.http.get("/metrics").status_code == 404


def test_the_model_in_process_tells_its_queue_and_where_its_time_goes(tmp_path: Path, tiny_model: Path) -> None:
    from fastapi.testclient import TestClient

    from runtime.app import create_app
    from runtime.settings import Settings

    settings = Settings(home=tmp_path, model=str(tiny_model), max_tokens=8, builtin_tools=False, threads=1)
    app = create_app(settings)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 1.0, "seed": 5}
        assert client.post("/v1/chat/completions", json=body).status_code == 200
        shown = client.get("/metrics").text
        assert isinstance(app.state.services.policy, EmbeddedPolicy)
    lines = shown.splitlines()
    for phase in ("queue", "prefill", "decode"):
        (count,) = [x for x in lines if x.startswith(f'hone_policy_phase_duration_seconds_count{{phase="{phase}"}}')]
        assert float(count.split()[-1]) >= 1
    assert "hone_policy_queue_depth 0.0" in lines
    assert "hone_policy_running_requests 0.0" in lines
