"""`hone data`: make dataset rows."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hone.output import JsonOption, console, write_json
from learner.row_files import write_rows
from learner.synth.rows import generate_rows

app = typer.Typer(no_args_is_help=True)


@app.callback()
def data() -> None:
    """Make dataset rows."""


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file.")],
    rows: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 1,
    side: Annotated[str, typer.Option(help="train or eval; tools of one share no name with the other.")] = "train",
    json: JsonOption = None,
) -> None:
    """Invent tools and decisions about them."""
    if side not in ("train", "eval"):
        raise typer.BadParameter(f"side={side!r}: give train or eval")
    chosen: Literal["train", "eval"] = "train" if side == "train" else "eval"
    out.parent.mkdir(parents=True, exist_ok=True)
    count = write_rows(out, generate_rows(seed, chosen, rows))
    if json:
        write_json({"file": str(out), "rows": count, "seed": seed, "side": side}, json)
    else:
        console.print(f"{count} rows in {out}")
