"""`hone tools test`: calls tools as their developer, to see that they work."""

import asyncio
import json as jsonlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from hone.home import Home, open_home
from hone.output import JsonOption, show_table, write_json
from runtime.assembly import open_executor, open_presence
from tools.outcome import shorten
from tools.spec import CallStatus, ToolSpec
from tools.trial import Trial, try_tool

HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]
SHOWN_CHARS = 120
"""Of a result, in the table."""


def try_tools(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Tools, or drafts.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All tools in service, or all drafts.")] = False,
    arguments: Annotated[
        str | None,
        typer.Option(help="JSON object; without it, what the definition holds: examples, defaults, choices."),
    ] = None,
    draft: Annotated[bool, typer.Option(help="The drafts of these names.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Call them though they change something.")] = False,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Call tools once and show what comes of it; exit code 1 where a call did not work."""
    if bool(names) == every:
        raise typer.BadParameter("give names of tools, or --all")
    given = _object(arguments)
    with open_home(home=home) as here:
        specs = _all(here, draft=draft) if every else [_one(here, name, draft=draft) for name in names or ()]
        trials = run_trials(here, specs, given, may_change=yes)
    tell(trials, json)
    if any(trial.result is not None and trial.result.status is not CallStatus.OK for trial in trials):
        raise typer.Exit(1)


def run_trials(
    here: Home, specs: Sequence[ToolSpec], arguments: dict[str, Any] | None = None, *, may_change: bool = False
) -> list[Trial]:
    """One after the other, by an executor as the server has it; what changes something is on record in its journal."""

    async def run() -> list[Trial]:
        async with AsyncExitStack() as stack:
            executor = open_executor(
                stack, here.settings, here.engine, open_presence(stack, here.settings, here.engine)
            )
            return [await try_tool(executor, spec, arguments, may_change=may_change) for spec in specs]

    return asyncio.run(run())


def tell(trials: Sequence[Trial], json: str | None = None) -> None:
    if json:
        write_json({"trials": [trial.plain() for trial in trials]}, json)
        return
    rows = []
    for trial in trials:
        told = trial.result.content if trial.result is not None else trial.why_not or ""
        ms = f"{trial.result.latency_ms:.0f}" if trial.result is not None else None
        shown = jsonlib.dumps(trial.arguments, ensure_ascii=False)
        rows.append((trial.tool, trial.status, ms, shorten(shown, SHOWN_CHARS), shorten(told, SHOWN_CHARS)))
    show_table("Calls", ("tool", "status", "ms", "arguments", "result"), rows)


def _one(here: Home, name: str, *, draft: bool) -> ToolSpec:
    return here.drafts.get(name).spec if draft else here.catalogue.get(name)


def _all(here: Home, *, draft: bool) -> list[ToolSpec]:
    return [kept.spec for kept in here.drafts.list()] if draft else here.catalogue.list()


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = jsonlib.loads(text)
    except jsonlib.JSONDecodeError as e:
        raise typer.BadParameter(f"--arguments: not JSON at column {e.colno}: {e.msg}") from e
    if not isinstance(value, dict):
        raise typer.BadParameter(f"--arguments: {text!r} is no JSON object")
    return value
