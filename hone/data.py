"""`hone data`: make dataset rows, say what they cover, and keep apart what is trained on and what is measured on."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from hone.output import JsonOption, console, show_table, write_json
from learner.coverage import Coverage, coverage_of
from learner.duplicates import NEAR, Duplicate, between, within, without
from learner.errors import BadRows
from learner.row_files import read_files, read_rows, write_rows
from learner.rows import Row
from learner.synth.borrowed import is_kept
from learner.synth.everyday import everyday_rows
from learner.synth.rows import generate_rows
from learner.synth.scenarios import WEIGHTS

app = typer.Typer(no_args_is_help=True)


@app.callback()
def data() -> None:
    """Make dataset rows, and look at them."""


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file.")],
    rows: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 1,
    side: Annotated[str, typer.Option(help="train or eval; tools of one share no name with the other.")] = "train",
    kind: Annotated[list[str] | None, typer.Option(help="Only situations of this kind; may be given again.")] = None,
    json: JsonOption = None,
) -> None:
    """Invent tools and decisions about them."""
    if unknown := sorted({*(kind or ())} - {*WEIGHTS}):
        raise typer.BadParameter(f"kind={unknown[0]!r}: give one of {', '.join(WEIGHTS)}")
    chosen = _side(side)
    out.parent.mkdir(parents=True, exist_ok=True)
    count = write_rows(out, generate_rows(seed, chosen, rows, kinds=kind or ()))
    if json:
        write_json({"file": str(out), "rows": count, "seed": seed, "side": side}, json)
    else:
        console.print(f"{count} rows in {out}")


@app.command()
def everyday(
    out: Annotated[Path, typer.Argument(help="A .jsonl or .jsonl.gz file.")],
    side: Annotated[
        str, typer.Option(help="train or eval; the starter is trained on no request about a tool of eval.")
    ] = "eval",
    json: JsonOption = None,
) -> None:
    """Write requests of everyday life, and conversations turn by turn, with real values, about tools such as real interfaces have,
    each beside the others of its domain."""
    chosen = _side(side)
    out.parent.mkdir(parents=True, exist_ok=True)
    count = write_rows(out, (row for row in everyday_rows() if row.extra_info["split"] == chosen))
    if json:
        write_json({"file": str(out), "rows": count, "side": side}, json)
    else:
        console.print(f"{count} rows in {out}")


def _side(given: str) -> Literal["train", "eval"]:
    if given not in ("train", "eval"):
        raise typer.BadParameter(f"side={given!r}: give train or eval")
    return "train" if given == "train" else "eval"


FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILES...", help=".jsonl, .jsonl.gz or .parquet.")]
AgainstOption = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Rows that the others must not be like, such as those of an evaluation. Once for each file.",
    ),
]


@app.command()
def report(files: FilesArgument, against: AgainstOption = None, json: JsonOption = None) -> None:
    """Say what rows cover, and which requests occur twice, among them and in other files."""
    read = read_files(files)
    coverage, repeated = coverage_of(read.rows), within(read.rows)
    shared = between(read.rows, _rows(against or []))
    if json:
        data = {
            "rows": len(read.rows),
            "unfit": [dataclasses.asdict(record) for record in read.unfit],
            "coverage": dataclasses.asdict(coverage),
            "duplicates": [dataclasses.asdict(found) for found in repeated],
            "shared": [dataclasses.asdict(found) for found in shared],
        }
        write_json(data, json)
        return
    _show_coverage(coverage)
    for record in read.unfit:
        console.print(f"{record.place}: no row: {record.detail}", markup=False, highlight=False)
    _show_duplicates("occur before in these files", repeated)
    if against:
        _show_duplicates("occur in the files held against", shared)


@app.command()
def distinct(
    files: FilesArgument,
    out: Annotated[Path, typer.Option(help="A .jsonl or .jsonl.gz file for the rows that are left.")],
    against: AgainstOption = None,
    json: JsonOption = None,
) -> None:
    """Write rows without those that repeat an earlier one, or one of other files, word for word or nearly."""
    rows = _rows(files)
    once = without(rows, within(rows))
    kept = without(once, between(once, _rows(against or [])))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_rows(out, kept)
    told = {"file": str(out), "rows": len(kept), "repeated": len(rows) - len(once), "shared": len(once) - len(kept)}
    if json:
        write_json(told, json)
    else:
        console.print(f"{told['rows']} rows in {out}: {told['repeated']} repeated others, {told['shared']} were shared")


@app.command()
def unseen(
    files: FilesArgument,
    out: Annotated[Path, typer.Option(help="A .jsonl or .jsonl.gz file.")],
    json: JsonOption = None,
) -> None:
    """Write the requests for one call whose tool pretraining never borrows, one name in eight: what a starter that was trained on
    these files can still be measured on."""
    kept = [row for row in _rows(files) if len(row.truth.tool_calls) == 1 and is_kept(row)]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_rows(out, kept)
    if json:
        write_json({"file": str(out), "rows": len(kept)}, json)
    else:
        console.print(f"{len(kept)} rows in {out}")


def _rows(files: Sequence[Path]) -> list[Row]:
    """Raises: BadRows: also where two rows of all the files have one id, by which they are told apart."""
    rows: dict[str, Row] = {}
    for path in files:
        for row in read_rows(path):
            row_id = row.extra_info["id"]
            if row_id in rows:
                raise BadRows(f"{path}: the id {row_id!r} is there before: rows are told apart by their ids")
            rows[row_id] = row
    return list(rows.values())


def _show_coverage(coverage: Coverage) -> None:
    console.print(
        f"{coverage.rows} rows, {coverage.tools} tools, {coverage.words} different words, "
        f"{coverage.median_words:g} words to a request"
    )
    rows = [
        [heading if first else "", what, str(count)]
        for heading, counts in coverage.counts.items()
        for first, (what, count) in _firsts(counts)
    ]
    show_table("What they cover", ("", "", "rows"), rows)


def _firsts(counts: Mapping[str, int]) -> Iterator[tuple[bool, tuple[str, int]]]:
    for number, item in enumerate(counts.items()):
        yield number == 0, item


def _show_duplicates(where: str, found: Sequence[Duplicate]) -> None:
    same = sum(duplicate.likeness == 100 for duplicate in found)
    console.print(f"{len(found)} requests {where}: {same} word for word, {len(found) - same} nearly ({NEAR} % alike)")
    for duplicate in found[:5]:
        console.print(f"  {duplicate.row} is {duplicate.of}, {duplicate.likeness} %", markup=False, highlight=False)
