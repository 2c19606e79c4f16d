"""`hone audit`: who did what to which thing."""

import json as jsonlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.output import JsonOption, show_table, write_json


def audit(
    action: Annotated[str | None, typer.Option(help="In full (key.revoked), or its noun (key).")] = None,
    user: Annotated[str | None, typer.Option(help="Only what this one did.")] = None,
    thing: Annotated[str | None, typer.Option(help="Only what was done to this.")] = None,
    since: Annotated[datetime | None, typer.Option(help="From then on, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(help="Before then, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    before: Annotated[int | None, typer.Option(min=1, help="Number of the last entry of the page before.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose; unless given, that of HONE_TENANT.")] = None,
    home: Annotated[Path | None, typer.Option(help="Where state lives.")] = None,
    json: JsonOption = None,
) -> None:
    """The audit log of a tenant, newest first."""
    with open_home(home=home, tenant=tenant) as here:
        found = here.audit.list(
            action=action,
            user=user,
            thing=thing,
            since=since.replace(tzinfo=UTC) if since else None,
            until=until.replace(tzinfo=UTC) if until else None,
            limit=limit,
            before=before,
        )
    if json:
        following = found[-1].seq if len(found) == limit else None
        write_json({"entries": [entry.plain() for entry in found], "next": following}, json)
        return
    rows = [
        [e.seq, f"{e.at:%Y-%m-%d %H:%M:%S}", e.user, e.via, e.action, e.thing, jsonlib.dumps(e.details)] for e in found
    ]
    show_table("Audit log (UTC)", ("number", "time", "user", "via", "action", "thing", "details"), rows)
