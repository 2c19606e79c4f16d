"""How commands speak: tables for people, JSON with stable keys for programs, errors on standard error."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON to FILE; - is standard output."),
]

_IN_A_FILE = 200
"""Columns of what goes to a file or another program: rich would take 80, which no table of figures fits."""
console = Console(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else _IN_A_FILE)
problems = Console(stderr=True)


def write_json(data: Any, target: str) -> None:
    """To a temporary name, then renamed, so that no half file is ever read."""
    text = json.dumps(data, ensure_ascii=False, indent=1, default=str)
    if target == "-":
        typer.echo(text)
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)
