"""`hone tools calls` and `hone tools settle`: the journal of tool calls, and what a person has found out about one."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.output import JsonOption, console, show_table, write_json
from runtime.api.tool_calls import shown
from runtime.database import compact
from tools.spec import CallStatus

HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


def calls(
    unknown: Annotated[bool, typer.Option("--unknown", help="Only writes whose end was not learnt.")] = False,
    tool: Annotated[str | None, typer.Option(help="Only calls of this tool.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many.")] = 50,
    purge_before: Annotated[
        datetime | None,
        typer.Option(help="Remove, for good, the calls that ended and the approvals that were settled before (UTC)."),
    ] = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Calls of tools, newest first."""
    if purge_before is not None:
        _purge(purge_before.replace(tzinfo=UTC), home, json)
        return
    status = CallStatus.UNKNOWN.value if unknown else None
    with open_home(home=home) as here:
        records = here.journal.list(status=status, tool=tool, limit=limit)
    if json:
        write_json({"calls": [shown(record) for record in records]}, json)
        return
    rows = [
        [r.started_at.isoformat(" ", "seconds"), r.call_id, r.tool, r.side_effect.value, r.status, r.arguments]
        for r in records
    ]
    show_table("Calls", ("started", "id", "tool", "effect", "status", "arguments"), rows)
    if any(record.outcome is CallStatus.UNKNOWN for record in records):
        console.print("unknown: find out at the service whether it happened, then hone tools settle ID ok|failed")


def _purge(before: datetime, home: Path | None, json: str | None) -> None:
    with open_home(home=home) as here:
        removed = {"calls": here.journal.purge(before), "approvals": here.approvals.purge(before)}
        compact(here.engine)
    if json:
        write_json({"removed": removed}, json)
        return
    console.print(f"removed: {removed['calls']} calls, {removed['approvals']} approvals", highlight=False)


def settle(
    call_id: Annotated[str, typer.Argument(metavar="ID", help="As `hone tools calls --unknown` shows it.")],
    outcome: Annotated[str, typer.Argument(metavar="ok|failed", help="ok: it happened; failed: it did not.")],
    result: Annotated[str, typer.Option(help="What the tool would have answered, or what went wrong.")] = "",
    note: Annotated[str, typer.Option(help="How it was found out, for the record.")] = "",
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Say what came of a call whose end was not learnt."""
    match outcome:
        case "ok":
            found = CallStatus.OK
        case "failed":
            found = CallStatus.FAILED
        case _:
            raise typer.BadParameter(f"{outcome!r}: write ok (it happened) or failed (it did not)")
    with open_home(home=home) as here:
        record = here.journal.settle(call_id, found, result=result, note=note)
    if json:
        write_json(shown(record), json)
    else:
        console.print(f"{record.call_id} is {record.status}")
