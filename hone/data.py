"""`hone data`: make dataset rows, and measure a model on them."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from hone.home import load_policy, load_renderer
from hone.output import JsonOption, console, write_json
from learner.evaluation import EvaluationReport, evaluate
from learner.rows import Row, read_rows, write_rows
from learner.synth.rows import generate_rows
from runtime.settings import Settings, load_settings

app = typer.Typer(help="Make dataset rows and measure on them.", no_args_is_help=True)


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


@app.command()
def measure(
    rows: Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file of rows.", exists=True, dir_okay=False)],
    model: Annotated[str | None, typer.Option(help="Folder of the model; default: what would be served.")] = None,
    json: JsonOption = None,
) -> None:
    """Run a model once over every row, greedily, and say how much it gets right."""
    settings = load_settings(**({"model": model} if model else {}))
    report = asyncio.run(_measure(settings, list(read_rows(rows))))
    if json:
        write_json(report.model_dump(mode="json", exclude={"rows"}), json)
    for name, figures in {"overall": report.overall, **report.per_class}.items():
        if figures is not None:
            reward, exact = figures.reward.mean, figures.exact.mean
            console.print(f"{name:8} n {figures.n:4}  reward {reward:.3f}  right in full {exact:.1%}")


async def _measure(settings: Settings, rows: list[Row]) -> EvaluationReport:
    policy = load_policy(settings)
    try:
        return await evaluate(policy, load_renderer(settings), rows)
    finally:
        await policy.close()
