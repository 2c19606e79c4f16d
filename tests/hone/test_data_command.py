"""`hone data`: rows out of the generator."""

import json
from pathlib import Path

from typer.testing import CliRunner

from hone.data import app
from learner.row_files import read_rows


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
