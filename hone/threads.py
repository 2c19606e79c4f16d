"""`hone threads`: conversations as a whole."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.output import JsonOption, console, write_json
from runtime.agent.thread_checkpoints import open_thread_checkpoints
from runtime.erasure import Erasure
from runtime.errors import ThreadBusy
from tools.presence import is_anyone_here

app = typer.Typer(help="Conversations as a whole.", no_args_is_help=True)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


@app.callback()
def _group() -> None:
    """Keeps `erase` a command of its own, though it is the only one."""


@app.command()
def erase(
    thread_id: Annotated[str, typer.Argument(metavar="ID", help="As `hone traces list` and replies name it.")],
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Erase all that is kept of a thread: turns, verdicts, calls, approvals, checkpoints."""
    with open_home(home=home) as here:
        if is_anyone_here(here.settings.presence):
            raise ThreadBusy(
                f"a server of {here.settings.home} is running and may be at a turn of {thread_id!r}: ask it "
                f"(DELETE /v1/threads/{thread_id}), or stop it first"
            )
        checkpoints = open_thread_checkpoints(here.engine, here.settings.old_thread_checkpoints)
        erased = Erasure(here.engine, checkpoints.forget).erase(thread_id)
    if json:
        write_json({"thread": thread_id, "erased": dataclasses.asdict(erased)}, json)
        return
    told = ", ".join(f"{number} {name}" for name, number in dataclasses.asdict(erased).items())
    console.print(f"{thread_id} is erased: {told}", markup=False, highlight=False)
