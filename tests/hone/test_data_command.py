"""`hone data`: rows out of the generator."""

import json
from pathlib import Path

from typer.testing import CliRunner

from hone.data import app
from learner.row_files import read_rows, write_rows
from learner.synth.lexicon import side_of
from tests.learner.case_rows import row, tool


def test_the_same_seed_gives_the_same_rows(tmp_path: Path) -> None:
    first, second, said = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz", tmp_path / "said.json"
    for out in (first, second):
        made = CliRunner().invoke(
            app, ["synth", str(out), "--rows", "24", "--seed", "5", "--side", "eval", "--json", str(said)]
        )
        assert made.exit_code == 0, made.output
    assert json.loads(said.read_text())["rows"] == 24
    assert list(read_rows(first)) == list(read_rows(second))


def test_a_side_that_there_is_not_is_refused(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["synth", str(tmp_path / "a.jsonl"), "--side", "both"]).exit_code == 2


def test_requests_of_everyday_life_are_about_tools_of_the_side_that_was_asked_for(tmp_path: Path) -> None:
    held, trained = tmp_path / "held.jsonl", tmp_path / "trained.jsonl"
    for out, options in ((held, []), (trained, ["--side", "train"])):
        made = CliRunner().invoke(app, ["everyday", str(out), *options])
        assert made.exit_code == 0, made.output
    for out, side in ((held, "eval"), (trained, "train")):
        assert {side_of(name) for row in read_rows(out) for name in row.extra_info["tool_ids"]} == {side}
    decided = {row.truth.decision for row in read_rows(held)}
    assert decided == {"execute", "clarify", "refuse"}
    refused = CliRunner().invoke(app, ["everyday", str(tmp_path / "a.jsonl"), "--side", "both"])
    assert refused.exit_code == 2


def test_only_situations_of_the_kinds_that_were_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    for kinds in (["conversation"], ["chain", "provided"]):
        asked = [part for kind in kinds for part in ("--kind", kind)]
        made = CliRunner().invoke(app, ["synth", str(out), "--rows", "12", *asked])
        assert made.exit_code == 0, made.output
        rows = list(read_rows(out))
        assert len(rows) == 12
        assert {row.data_source for row in rows} <= {f"synth/{kind}" for kind in kinds}


def test_a_kind_that_there_is_not_is_refused_and_the_kinds_are_named(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["synth", str(tmp_path / "a.jsonl"), "--kind", "small talk"])
    assert refused.exit_code == 2
    assert "small talk" in refused.output
    assert "conversation" in refused.output
    assert not (tmp_path / "a.jsonl").exists()


def test_rows_for_tools_that_no_training_borrows_are_kept_apart(tmp_path: Path) -> None:
    names = [f"{verb}_{noun}" for verb in ("find", "order", "cancel") for noun in ("kiln", "barge", "tulip", "anvil")]
    rows = [
        row(name, tools=(tool(name),), decision="execute", tool_calls=[{"name": name, "arguments": {}}])
        for name in names
    ]
    source, out = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_rows(source, [*rows, row("refused", tools=(tool("find_sled"),), decision="refuse")])
    made = CliRunner().invoke(app, ["unseen", str(source), "--out", str(out)])
    assert made.exit_code == 0, made.output
    kept = {r.extra_info["id"] for r in read_rows(out)}
    assert kept == {name for name in names if side_of(name) == "eval"}
    assert kept
