"""Rows that are the same request are found, word for word or nearly, and what rows cover is counted."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from hone.__main__ import app
from learner.coverage import coverage_of, kind_of
from learner.duplicates import between, within, without
from learner.errors import BadRows
from learner.row_files import read_rows, write_rows
from learner.rows import Row

BOOK = {"type": "object", "properties": {"city": {"type": "string"}, "day": {"type": "string", "format": "date"}}}


def row(name: str, said: str, *, tool: str = "book", decision: str = "execute", **truth: Any) -> Row:
    if decision == "execute":
        truth = {"tool_calls": [{"name": tool, "arguments": {"city": "Oslo", "day": "2027-01-01"}}]} | truth
    return Row.model_validate(
        {
            "data_source": "mine",
            "prompt": [{"role": "user", "content": said}],
            "tools": [{"type": "function", "function": {"name": tool, "description": "", "parameters": BOOK}}],
            "reward_model": {"ground_truth": {"decision": decision} | truth},
            "extra_info": {"id": name, "split": "train"},
        }
    )


ROWS = [
    row("a", "Please book a room in Oslo for the first of January"),
    row("b", "please book a room in Oslo, for the first of January!"),
    row("c", "Please book a room in Rome for the first of January", tool="other"),
    row("d", "what was the weather like on the day I was born"),
    row("e", "cancel it", decision="clarify"),
    row("f", "cancel it", decision="clarify", tool="other"),
    row("g", "Cancel it.", decision="clarify"),
]


def test_repeated_requests_are_found_whatever_their_tools_and_short_ones_by_their_tools() -> None:
    found = {(d.row, d.of): d.likeness for d in within(ROWS)}
    assert found[("b", "a")] == 100
    assert 90 <= found[("c", "a")] < 100
    assert found[("g", "e")] == 100
    assert set(found) == {("b", "a"), ("c", "a"), ("g", "e")}
    assert [r.extra_info["id"] for r in without(ROWS, within(ROWS))] == ["a", "d", "e", "f"]


def test_rows_are_held_against_another_set_in_parts() -> None:
    others = [row("x", "Please book a room in Oslo for the first of January"), row("y", "thanks")]
    assert [(d.row, d.of) for d in between(ROWS, others, chunk=2)] == [("a", "x"), ("b", "x"), ("c", "x")]
    assert between(ROWS, []) == []
    assert between([], others) == []


def test_what_rows_cover_is_counted_by_decision_tools_calls_and_kinds_of_argument() -> None:
    coverage = coverage_of(ROWS)
    assert (coverage.rows, coverage.tools) == (7, 2)
    assert coverage.counts["decision"] == {"clarify": 3, "execute": 4}
    assert coverage.counts["argument"] == {"date": 4, "string": 4}
    assert coverage.counts["missing"] == {"any question": 3}
    assert coverage_of([]).rows == 0
    nested = {"type": "array", "items": {"type": "array", "items": {"enum": [1, 2]}}}
    assert kind_of(nested) == "array of array of enum"


def test_a_file_is_written_without_what_repeats_or_is_shared(tmp_path: Path) -> None:
    mine, theirs, out = tmp_path / "mine.jsonl", tmp_path / "theirs.jsonl.gz", tmp_path / "new" / "out.jsonl"
    write_rows(mine, ROWS)
    write_rows(theirs, [row("x", "What was the weather like, on the day I was born?")])
    command = ["data", "distinct", str(mine), "--against", str(theirs), "--out", str(out), "--json", "-"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"file": str(out), "rows": 3, "repeated": 3, "shared": 1}
    assert [r.extra_info["id"] for r in read_rows(out)] == ["a", "e", "f"]
    shown = CliRunner().invoke(app, ["data", "report", str(mine), "--against", str(theirs)])
    assert shown.exit_code == 0, shown.output
    assert "3 requests occur before in these files: 2 word for word, 1 nearly" in " ".join(shown.stdout.split())
    assert "1 requests occur in the files held against" in " ".join(shown.stdout.split())


def test_rows_of_one_id_are_refused_with_the_id(tmp_path: Path) -> None:
    file = tmp_path / "twice.jsonl"
    write_rows(file, [ROWS[0], ROWS[0]])
    done = CliRunner().invoke(app, ["data", "distinct", str(file), "--out", str(tmp_path / "out.jsonl")])
    assert isinstance(done.exception, BadRows)
    assert f"{file}: the id 'a' is there before" in str(done.exception)
    assert not (tmp_path / "out.jsonl").exists()
