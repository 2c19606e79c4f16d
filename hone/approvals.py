"""`hone approvals`: the calls that wait for a person. A running server follows within a second, another at its start."""

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.output import JsonOption, console, show_table, write_json
from runtime.approvals.schema import Approval, ApprovalState, Verdict

app = typer.Typer(help="See and answer what the agent asks to do.", no_args_is_help=True)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


@app.command("list")
def list_approvals(
    every: Annotated[bool, typer.Option("--all", help="Answered and expired ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Calls that wait, newest first."""
    with open_home(home=home) as here:
        found = here.approvals.list(state=None if every else ApprovalState.PENDING, limit=limit)
    if json:
        write_json({"approvals": [approval.model_dump(mode="json") for approval in found]}, json)
        return
    rows = [
        [a.id, a.ask.tool, jsonlib.dumps(a.ask.arguments), a.ask.why.value, a.state.value, f"{a.expires_at:%H:%M:%S}"]
        for a in found
    ]
    show_table("Approvals (UTC)", ("id", "tool", "arguments", "why", "state", "until"), rows)


@app.command()
def approve(approval_id: str, home: HomeOption = None, json: JsonOption = None) -> None:
    """Let a call run."""
    _answer(approval_id, Verdict.APPROVE, home, json)


@app.command()
def decline(approval_id: str, home: HomeOption = None, json: JsonOption = None) -> None:
    """Keep a call from running."""
    _answer(approval_id, Verdict.DECLINE, home, json)


def _answer(approval_id: str, verdict: Verdict, home: Path | None, json: str | None) -> None:
    with open_home(home=home) as here:
        decided: Approval = here.approvals.decide(approval_id, verdict, via="command line")
    if json:
        write_json(decided.model_dump(mode="json"), json)
        return
    console.print(f"{decided.state.value}: {decided.ask.tool}; the server lets the turn go on", markup=False)
