"""`hone adapters`: what was learnt, what serves, and going back."""

from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.output import JsonOption, console, show_table, write_json
from runtime.policy.deployment import AdapterRecord, Channel

app = typer.Typer(help="List, promote and roll back adapters.", no_args_is_help=True)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


def _plain(record: AdapterRecord, reason: str | None) -> dict[str, object]:
    return {
        "name": record.name,
        "version": record.version,
        "state": record.state.value,
        "reason": reason,
        "parent": record.parent,
        "sha256": record.sha256,
        "created_at": record.created_at.isoformat(),
        "path": str(record.path),
    }


@app.command("list")
def list_adapters(home: HomeOption = None, json: JsonOption = None) -> None:
    """All adapters, newest first, and why each is in the state that it is in."""
    with open_home(home=home) as here:
        records = here.deployment.list()
        last = [here.deployment.history(record.name, limit=1) for record in records]
    listed = [_plain(record, made[0].reason if made else None) for record, made in zip(records, last, strict=True)]
    if json:
        write_json({"adapters": listed}, json)
        return
    rows = [[a["name"], a["state"], a["reason"], a["parent"], str(a["sha256"])[:12], a["created_at"]] for a in listed]
    show_table("Adapters", ("name", "state", "why", "parent", "sha256", "created"), rows)


@app.command()
def promote(name: str, home: HomeOption = None) -> None:
    """Let an adapter serve; running servers follow within a second."""
    with open_home(home=home) as here:
        here.deployment.point(Channel.INCUMBENT, name, reason="promoted by hand")
    console.print(f"{name} serves")


@app.command()
def rollback(home: HomeOption = None) -> None:
    """Go back to the parent of what serves, or to the base."""
    with open_home(home=home) as here:
        current = here.deployment.current()
        if current is None:
            console.print("the base serves; there is nothing to go back to")
            raise typer.Exit(1)
        here.deployment.point(Channel.INCUMBENT, current.parent, reason="rolled back by hand")
    console.print(f"{current.parent or 'the base'} serves, not {current.name}")
