"""`hone tools report` and `hone tools lint`: how well the agent uses a tool, and what its definition lacks."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hone.cycle import bars
from hone.home import Home, load_policy, load_renderer, open_home
from hone.output import JsonOption, console, show_table, write_json
from learner.tool_measurement import measure_tool
from runtime.policy.base import Policy
from runtime.report.measurements import KINDS, Measurements
from runtime.report.tool_report import ToolReport, ToolReports
from tools.curriculum import curriculum, digest
from tools.lint import Finding, lint, lint_all
from tools.retrieval import open_retriever
from tools.spec import ToolSpec

HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


def report(
    name: str,
    measure: Annotated[bool, typer.Option("--measure", help="Run what serves over the tool's cases first.")] = False,
    model: Annotated[str | None, typer.Option(help="Folder of the base model.")] = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """How well the agent uses a tool: readiness, confusion, failing arguments, gain per adapter."""
    with open_home(model=model, home=home) as here:
        if measure:
            asyncio.run(_measure(here, here.catalogue.get(name)))
        found = ToolReports(here.engine).report(name)
    if json:
        write_json(found.model_dump(mode="json"), json)
        return
    _show(found)


def lint_tools(
    name: Annotated[str | None, typer.Argument(help="One tool; without it all of them.")] = None,
    draft: Annotated[bool, typer.Option(help="Drafts instead of registered tools.")] = False,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """What in the definitions makes models misuse them; exit code 0 whatever is found."""
    with open_home(home=home) as here:
        registered = here.catalogue.list()
        if draft:
            drafts = [here.drafts.get(name).spec] if name else [found.spec for found in here.drafts.list()]
            findings = lint_all(drafts, registered)
        else:
            findings = lint(here.catalogue.get(name), registered) if name else lint_all(registered)
    if json:
        write_json({"findings": [finding.plain() for finding in findings]}, json)
        return
    warn(findings)
    console.print(f"{len(findings)} findings" if findings else "nothing to mend")


def warn(findings: Sequence[Finding], *, most: int | None = None) -> None:
    """Args: most: how many to show; the rest is counted."""
    for finding in findings[:most]:
        console.print(f"warning: {finding}", style="yellow", markup=False, highlight=False)
    if most is not None and len(findings) > most:
        console.print(f"and {len(findings) - most} more: hone tools lint")


async def _measure(here: Home, spec: ToolSpec) -> None:
    """What serves, and the base where it was not measured on the same cases yet."""
    others = here.catalogue.list()
    store, current = Measurements(here.engine), here.deployment.current()
    policy = load_policy(here.settings)
    try:
        cases = digest(spec, curriculum(spec, others))
        known = {(m.model, m.adapter) for m in store.latest(spec.name) if m.cases == cases}
        if current is not None:
            await policy.load_adapter(current.name, current.path)
        for adapter in dict.fromkeys((None, current.name if current else None)):
            if adapter is not None or current is None or (policy.model, None) not in known:
                await _measure_one(here, store, policy, spec, others, adapter)
    finally:
        await policy.close()


async def _measure_one(
    here: Home, store: Measurements, policy: Policy, spec: ToolSpec, others: Sequence[ToolSpec], adapter: str | None
) -> None:
    renderer, retriever = load_renderer(here.settings), open_retriever(here.settings.retrieval)
    with bars() as progress:
        task = progress.add_task(f"measure {adapter or 'the base'}", total=None)
        measured = await measure_tool(
            policy,
            renderer,
            retriever,
            spec,
            others,
            adapter=adapter,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    store.keep(measured)


def _show(found: ToolReport) -> None:
    ready = found.readiness
    console.print(
        f"[bold]{found.tool}[/] version {found.version}, {found.side}, served by {found.serving or 'the base'}"
    )
    console.print(f"readiness [bold]{ready.score}[/] of 100 = {ready.formula}")
    console.print(
        f"  cases {_share(ready.cases, f'not measured: hone tools report {found.tool} --measure')}, "
        f"live {_share(ready.live, 'nothing judged yet')} (n = {ready.judged}), definition {ready.definition:.2f}"
    )
    _show_policies(found)
    _show_runs(found)
    warn(found.findings)


def _show_policies(found: ToolReport) -> None:
    rows = [
        [
            figures.adapter or "base",
            figures.n,
            f"{figures.reward:.3f}",
            f"{figures.exact:.1%}",
            *(_share(figures.exact_by_kind.get(kind), "-") for kind in KINDS),
            "" if figures.gain is None else f"{figures.gain:+.3f}",
            "" if figures.is_current else "of an earlier definition or catalogue",
        ]
        for figures in found.policies
    ]
    if rows:
        columns = ("policy", "cases", "reward", "right in full", *KINDS, "gain", "")
        show_table("On its own cases", columns, rows)


def _show_runs(found: ToolReport) -> None:
    runs = found.runs
    calls = ", ".join(f"{status} {n}" for status, n in runs.outcomes.items()) or "none"
    console.print(
        f"{runs.decisions} decisions about it; calls: {calls}; verified {runs.verified}, refuted {runs.refuted}"
    )
    if runs.judged:
        rows = [[truth, *(runs.confusion[truth][kind] for kind in KINDS)] for truth in KINDS]
        show_table("Right (rows) and decided (columns)", ("", *KINDS), rows)
    if runs.failing_arguments:
        faults = [[fault.argument, fault.reason, fault.count] for fault in runs.failing_arguments]
        show_table("Failing arguments", ("argument", "reason", "times"), faults)
    for sort, ids in runs.example_traces.items():
        if ids:
            console.print(f"{sort.replace('_', ' ')}: {', '.join(ids)}", markup=False)


def _share(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.2f}"
