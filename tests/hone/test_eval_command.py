"""`hone eval`, as people and programs use it: on a model, on a served hone, broken off by a kill, and twice over."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hone.eval_command import app
from learner.deciding import ModelDecider
from learner.evaluation import measure
from learner.row_files import write_rows
from learner.settings import EvaluationSettings
from learner.synth.rows import generate_rows
from runtime.policy.embedded import EmbeddedPolicy
from runtime.prompt import Renderer
from tests.learner.case_rows import mixed_rows, right_text, row
from tests.runtime.served_app import served_app
from tests.tiny_model import build_adapter, build_tiny_model

FEW = ["--max-tokens", "12", "--batch", "4"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def _by_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HONE_RETRIEVAL", "words")
    monkeypatch.setenv("HONE_THREADS", "1")


def run(tmp_path: Path, *arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments), "--home", str(tmp_path / "home")])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def test_a_model_is_measured_with_figures_per_source_and_baselines(tmp_path: Path, tiny: Path) -> None:
    first, second, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "out.json"
    write_rows(first, mixed_rows(8))
    long = row("long", "x " * 4000, decision="refuse")
    write_rows(second, [row("z", decision="answer"), long])
    with second.open("a") as file:
        file.write("{broken\n")
    said = run(tmp_path, "--data", first, second, "--model", tiny, "--json", out, *FEW)
    assert "not measured, too_long: 1" in said
    assert "not measured, not_json: 1" in said
    data = json.loads(out.read_text())
    assert {"macro_f1", "reward", "exact", "confusion", "per_source", "baselines"} <= data.keys()
    assert data["n"] == 9 == sum(sum(decided.values()) for decided in data["confusion"].values())
    assert set(data["baselines"]) == {"always_clarify", "always_refuse", "never_call", "call_first", "call_all"}
    assert set(data["confusion"]) == {"execute", "clarify", "refuse", "answer"}
    assert "How sure, how right" in said
    assert data["reliability"]["n"] == 9 == sum(band["n"] for band in data["reliability"]["bands"])
    assert 0 <= data["reliability"]["error"] <= 1
    low, high = data["intervals"]["decision_accuracy"]
    assert low <= data["decision_accuracy"] <= high
    assert [(part["id"], part["fault"]) for part in data["not_measured"]] == [
        ("b.jsonl:3", "not_json"),
        ("long", "too_long"),
    ]


def test_figures_are_given_by_the_turns_of_a_conversation(tmp_path: Path, tiny: Path) -> None:
    rows, out = tmp_path / "a.jsonl", tmp_path / "out.json"
    past = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."})
    single = mixed_rows(4)
    later = [
        row.model_copy(update={"prompt": (*past * times, *row.prompt), "extra_info": {"id": f"later-{times}"}})
        for times, row in enumerate(single)
        if times
    ]
    write_rows(rows, [*single, *later])
    said = run(tmp_path, "--data", rows, "--model", tiny, "--json", out, *FEW)
    by_turns = json.loads(out.read_text())["per_turns"]
    assert {name: figures["n"] for name, figures in by_turns.items()} == {"1 turn": 4, "2 turns": 1, "3 to 4 turns": 2}
    assert {"exact", "decision_accuracy", "intervals"} <= by_turns["1 turn"].keys()
    assert all(name in said for name in by_turns)


def test_two_runs_give_the_same_bytes(tmp_path: Path, tiny: Path) -> None:
    rows = tmp_path / "a.jsonl"
    write_rows(rows, generate_rows(3, "eval", 12))
    for out in ("one.json", "two.json"):
        run(tmp_path, "--data", rows, "--model", tiny, "--json", tmp_path / out, *FEW)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_an_adapter_is_measured_and_compared_with_its_base(tmp_path: Path, tiny: Path) -> None:
    rows, adapter = tmp_path / "a.jsonl", build_adapter(tmp_path / "adapter", tiny)
    write_rows(rows, mixed_rows(8))
    run(tmp_path, "--data", rows, "--policy", tiny, "--json", tmp_path / "base.json", *FEW)
    run(tmp_path, "--data", rows, "--policy", f"{tiny}@{adapter}", "--json", tmp_path / "adapted.json", *FEW)
    base, adapted = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("base", "adapted"))
    assert [r["text"] for r in base["rows"]] != [r["text"] for r in adapted["rows"]]
    out = tmp_path / "compared.json"
    done = CliRunner().invoke(
        app, ["compare", str(tmp_path / "base.json"), str(tmp_path / "adapted.json"), "--json", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["overall"]["n"] == 8
    run(tmp_path, "--data", rows, "--policy", "hone@v9", code=1)


def test_results_over_other_rows_are_not_compared(tmp_path: Path, tiny: Path) -> None:
    for name, rows in {"a": mixed_rows(4), "b": mixed_rows(5)}.items():
        write_rows(tmp_path / f"{name}.jsonl", rows)
        run(tmp_path, "--data", tmp_path / f"{name}.jsonl", "--model", tiny, "--json", tmp_path / f"{name}.json", *FEW)
    done = CliRunner().invoke(app, ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    assert done.exit_code == 2
    assert "different rows" in done.output


def test_bad_input_is_refused_with_exit_code_two(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n")
    (tmp_path / "empty.jsonl").write_text("")
    for name in ("none.jsonl", "bad.jsonl", "empty.jsonl"):
        run(tmp_path, "--data", tmp_path / name, "--model", tiny, code=2)


def test_results_of_another_run_are_not_mixed_in(tmp_path: Path, tiny: Path) -> None:
    rows, out = tmp_path / "a.jsonl", tmp_path / "out.json"
    write_rows(rows, mixed_rows(4))
    run(tmp_path, "--data", rows, "--model", tiny, "--json", out, *FEW)
    assert "settings differ" in run(tmp_path, "--data", rows, "--model", tiny, "--json", out, *FEW, "--strict", code=2)
    write_rows(rows, mixed_rows(5))
    assert "data differ" in run(tmp_path, "--data", rows, "--model", tiny, "--json", out, *FEW, code=2)
    run(tmp_path, "--data", rows, "--model", tiny, "--json", out, *FEW, "--fresh")
    assert json.loads(out.read_text())["n"] == 5


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, tiny: Path) -> None:
    rows, out, whole = tmp_path / "a.jsonl", tmp_path / "killed.json", tmp_path / "whole.json"
    write_rows(rows, mixed_rows(80))
    options = ["--data", rows, "--model", tiny, "--max-tokens", 40, "--batch", 8, "--json"]
    command = [sys.executable, "-m", "hone", "eval", *map(str, options), str(out), "--home", str(tmp_path / "home")]
    journal = tmp_path / "killed.rows.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 1 + 8:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        process.kill()
    assert not out.exists()
    kept = [json.loads(line) for line in journal.read_bytes().splitlines()[1:]]
    assert 8 <= len(kept) < 80
    with journal.open("ab") as file:  # as a kill in the middle of a write leaves it
        file.write(b'{"id": "half')
    run(tmp_path, *options, out)
    lines = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    assert lines[: len(kept)] == kept
    assert len(lines) == 80, "a row was decided twice"
    run(tmp_path, *options, whole)
    assert whole.read_bytes() == out.read_bytes()


def test_a_served_hone_is_measured_by_its_url(tmp_path: Path, tiny: Path) -> None:
    rows = [*mixed_rows(10), row("z", decision="answer")]
    write_rows(tmp_path / "a.jsonl", rows)
    by_request = {r.prompt[-1]["content"]: right_text(r) for r in rows}

    def decide(prompt: str) -> str:
        return next(text for said, text in by_request.items() if said in prompt)

    with served_app(tmp_path / "server", Renderer.load(tiny), [decide] * len(rows)) as served:
        out = tmp_path / "out.json"
        run(tmp_path, "--data", tmp_path / "a.jsonl", "--policy", served.url, "--json", out)
    data = json.loads(out.read_text())
    assert (data["n"], data["exact"], data["not_measured"]) == (11, 1.0, [])
    assert data["policy"]["reserved_tools"] is False
    assert data["reliability"]["n"] == 11


async def test_rows_decided_together_get_what_they_would_get_alone(tmp_path: Path, tiny: Path) -> None:
    rows = [*generate_rows(5, "eval", 24), *mixed_rows(12)]
    settings = EvaluationSettings(max_tokens=24, batch_rows=36)
    policy, renderer = EmbeddedPolicy.load(tiny, threads=1), Renderer.load(tiny)
    try:
        decider = ModelDecider(policy, renderer, settings=settings)
        together = await measure(decider, rows, settings=settings)
        alone: list[Any] = []
        for one in rows:
            alone += await asyncio.wait_for(measure(decider, [one], settings=settings), 60)
    finally:
        await policy.close()
    assert together == [outcome.model_copy(update={"id": t.id}) for outcome, t in zip(alone, together, strict=True)]
