"""`hone data`: rows out of the generator, and a model measured on them."""

import json
from pathlib import Path

from typer.testing import CliRunner

from hone.data import app


def test_generated_rows_are_measured_with_figures_for_each_class(tmp_path: Path) -> None:
    rows, figures = tmp_path / "rows.jsonl", tmp_path / "figures.json"
    made = CliRunner().invoke(app, ["synth", str(rows), "--rows", "24", "--seed", "5", "--side", "eval"])
    assert made.exit_code == 0, made.output
    measured = CliRunner().invoke(app, ["measure", str(rows), "--json", str(figures)])
    assert measured.exit_code == 0, measured.output
    assert "overall  n   24" in measured.output
    assert json.loads(figures.read_text())["overall"]["n"] == 24


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    measured = CliRunner().invoke(app, ["measure", str(tmp_path / "none.jsonl")])
    assert measured.exit_code == 2
    assert "none.jsonl" in measured.output.replace("\n", "").replace("│", "").replace(" ", "")
