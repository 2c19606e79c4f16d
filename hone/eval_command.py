"""`hone eval`: how good a policy is at deciding, on rows whose right decision is known; `hone eval compare`: is one of two better?

`docs/evaluation.md` says what the columns and the JSON mean.
"""

import asyncio
import json as jsonlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from hone.cycle import bars
from hone.eval_tables import as_json, show_comparison, show_report
from hone.home import load_policy, load_renderer, open_home
from hone.output import JsonOption, console, problems, write_json
from learner.comparison import Results, compare
from learner.deciding import Decider, ModelDecider
from learner.endpoint import EndpointDecider
from learner.errors import BadRows
from learner.evaluation import EvaluationReport, measure, report_of
from learner.measured_rows import MeasuredRows, prepare
from learner.results import ResultJournal, digest_rows
from learner.row_files import read_files
from learner.settings import EvaluationSettings
from runtime.errors import UnknownAdapter
from runtime.policy.adapter_files import read_adapter
from runtime.policy.base_files import local_folder
from runtime.policy.deployment import Deployment
from runtime.policy.manifest import digest_model
from runtime.settings import Settings
from tools.retrieval import open_retriever

EMBEDDED = "embedded"
BAD_INPUT = 2


class _Group(TyperGroup):
    """`hone eval --data ...` measures; what follows no command name belongs to `measure`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["measure", *args])


app = typer.Typer(cls=_Group, help="Measure policies on rows, and compare them.")


@app.command("measure")
def measure_policy(
    data: Annotated[list[Path], typer.Option("--data", help="Files of rows: .jsonl, .jsonl.gz, .parquet.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILES]...", help="More files.")] = None,
    policy: Annotated[
        str, typer.Option(help="embedded | URL of a chat endpoint | NAME@ADAPTER, such as hone@v3.")
    ] = EMBEDDED,
    json: JsonOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take labels as they are, also against their own schema.")
    ] = False,
    sample: Annotated[int, typer.Option(min=0, help="The most rows of each source; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Folder of the base model; with a URL: the model to ask for.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = EvaluationSettings().max_tokens,
    shown_tools: Annotated[
        int | None, typer.Option(min=0, help="Most tools shown of a row; default as served; 0: all.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Rows decided together.")] = EvaluationSettings().batch_rows,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time to an endpoint.")] = 8,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for one try at an endpoint.")] = 60.0,
    retries: Annotated[int, typer.Option(min=0, help="Further tries at an endpoint.")] = 4,
    api_key: Annotated[
        str, typer.Option(envvar="HONE_EVAL_API_KEY", help="Of the endpoint.", show_envvar=True)
    ] = "unused",
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away what an earlier run wrote beside --json.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where adapters are.")] = None,
) -> None:
    """Measure a policy on rows; `hone eval compare A B` compares two results. See docs/evaluation.md.

    With --json FILE, results are written to FILE's neighbour .rows.jsonl as they come; the same command goes on where it was
    broken off.
    """
    settings = EvaluationSettings(max_tokens=max_tokens, concurrency=concurrency, batch_rows=batch)
    is_url = policy.startswith(("http://", "https://"))
    try:
        files = read_files([*data, *(more or ())])
        with open_home(model=None if is_url else model, home=home) as here:
            most = here.settings.shown_tools if shown_tools is None else shown_tools
            retriever = None if is_url else open_retriever(here.settings.retrieval)
            rows = prepare(files, sample=sample, seed=seed, strict=strict, retriever=retriever, shown_tools=most)
            if not rows.rows:
                raise BadRows(f"there is no row to measure: {_why_none(rows)}")
            facts = {
                "data": {"files": [path.name for path in (*data, *(more or ()))], "sha256": digest_rows(rows.read)},
                "settings": {
                    "strict": strict,
                    "sample": sample,
                    "seed": seed,
                    "max_tokens": max_tokens,
                    "batch": batch,
                    "shown_tools": None if is_url else most,
                    "retrieval": None if is_url else here.settings.retrieval,
                    "constrained": None if is_url else here.settings.constrained,
                },
            }

            async def run() -> tuple[EvaluationReport, Mapping[str, Any]]:
                opened = (
                    _endpoint(policy, model, api_key, timeout, retries, settings)
                    if is_url
                    else _local(here.settings, here.deployment, policy, settings)
                )
                async with opened as decider:
                    journal = _journal(json, {**facts, "policy": dict(decider.identity)}, fresh)
                    return await _run(decider, rows, journal, settings), decider.identity

            report, identity = asyncio.run(run())
    except BadRows as e:
        _refuse(e)
    if json:
        write_json(as_json(report, rows, policy=identity, **facts), json)
    if json != "-":
        show_report(console, report, rows)


@app.command("compare")
def compare_results(
    a: Annotated[
        Path, typer.Argument(help="Results of one policy, from hone eval --json.", exists=True, dir_okay=False)
    ],
    b: Annotated[Path, typer.Argument(help="Results of the other.", exists=True, dir_okay=False)],
    json: JsonOption = None,
) -> None:
    """Is B better than A on the same rows, or is it chance?"""
    try:
        found = compare(_results(a), _results(b))
    except BadRows as e:
        _refuse(e)
    if json:
        write_json(found.model_dump(mode="json"), json)
    if json != "-":
        show_comparison(console, found)


def _refuse(error: BadRows) -> NoReturn:
    problems.print(f"hone: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(BAD_INPUT) from error


def _why_none(rows: MeasuredRows) -> str:
    return (
        f"{len(rows.unfit)} are unfit, the first: {rows.unfit[0].place}: {rows.unfit[0].detail}"
        if rows.unfit
        else "none was read"
    )


def _results(path: Path) -> Results:
    try:
        return Results.read(jsonlib.loads(path.read_text(encoding="utf-8")), str(path))
    except ValueError as e:
        raise BadRows(f"{path} is no JSON ({e}): give a file that `hone eval --json` wrote") from e


def _journal(json: str | None, belongs_to: Mapping[str, Any], fresh: bool) -> ResultJournal | None:
    if json is None or json == "-":
        return None
    return ResultJournal.open(Path(json).with_suffix(".rows.jsonl"), belongs_to, fresh=fresh)


async def _run(
    decider: Decider, rows: MeasuredRows, journal: ResultJournal | None, settings: EvaluationSettings
) -> EvaluationReport:
    started = time.monotonic()
    with bars() as progress:
        task = progress.add_task("measure", total=len(rows.rows))
        outcomes = await measure(
            decider,
            rows.rows,
            settings=settings,
            journal=journal,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    named = decider.identity
    return report_of(
        rows.rows,
        outcomes,
        model=str(named["model"]),
        adapter=named.get("adapter"),
        seconds=time.monotonic() - started,
        settings=settings,
    )


@asynccontextmanager
async def _endpoint(
    url: str, model: str | None, api_key: str, timeout: float, retries: int, settings: EvaluationSettings
) -> AsyncIterator[Decider]:
    decider = await EndpointDecider.connect(
        url, api_key=api_key, model=model, timeout_s=timeout, retries=retries, settings=settings
    )
    try:
        yield decider
    finally:
        await decider.close()


@asynccontextmanager
async def _local(
    settings: Settings, deployment: Deployment, policy: str, evaluation: EvaluationSettings
) -> AsyncIterator[Decider]:
    name, _, adapter = policy.rpartition("@") if "@" in policy else (policy, "", "")
    if name not in (EMBEDDED, "hone"):
        settings = settings.model_copy(update={"model": name})
    path = _adapter_path(deployment, adapter) if adapter else None
    folder = local_folder(settings.model)
    served = load_policy(settings)
    try:
        if path is not None:
            await served.load_adapter(adapter, path)
        identity = {
            "kind": "model",
            "model": Path(settings.model).name,
            "model_sha256": digest_model(folder) if folder else None,
            "adapter": adapter or None,
            "adapter_sha256": read_adapter(path).sha256 if path else None,
        }
        yield ModelDecider(
            served, load_renderer(settings), adapter=adapter or None, settings=evaluation, identity=identity
        )
    finally:
        await served.close()


def _adapter_path(deployment: Deployment, adapter: str) -> Path:
    """Of a published adapter by name ("hone-v3-1a2b3c4d") or version ("v3"), or of a folder."""
    records = deployment.list()
    for record in records:
        if adapter in (record.name, f"v{record.version}"):
            return record.path
    if Path(adapter).is_dir():
        return Path(adapter)
    known = ", ".join(f"v{record.version}" for record in records) or "none"
    raise UnknownAdapter(f"{adapter!r} is neither a published adapter (there are: {known}) nor a folder")
