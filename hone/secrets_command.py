"""`hone secrets`: values for tools, sealed in the database; they are written and never shown."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hone.home import open_home
from hone.output import JsonOption, console, show_table, write_json
from tools.secret_store import StoredSecret, check_name

app = typer.Typer(help="Keep the secrets of tools.", no_args_is_help=True)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


@app.command("set")
def set_secret(name: str, home: HomeOption = None, json: JsonOption = None) -> None:
    """Keep a value, or a new one: from a prompt, or from standard input. Running servers use it from the next call on."""
    check_name(name)  # before anyone types a value for it
    value = _ask(name) if sys.stdin.isatty() else sys.stdin.read()
    with open_home(home=home) as here:
        stored = here.secrets.set(name, value)
    if json:
        write_json(_plain(stored), json)
        return
    console.print(f"{stored.name} is set (version {stored.version})", highlight=False)


@app.command("list")
def list_secrets(home: HomeOption = None, json: JsonOption = None) -> None:
    """Names, versions and dates; never values."""
    with open_home(home=home) as here:
        stored = here.secrets.list()
        problem = here.secrets.problem()
    if json:
        write_json({"secrets": [_plain(secret) for secret in stored], "problem": problem}, json)
        return
    rows = [
        [s.name, s.version, f"{s.changed_at:%Y-%m-%d %H:%M}", f"{s.created_at:%Y-%m-%d %H:%M}", _yes(s.opens)]
        for s in stored
    ]
    show_table("Secrets", ("name", "version", "set (UTC)", "first set (UTC)", "opens"), rows)
    if problem is not None:
        console.print(problem, markup=False, style="red")


@app.command()
def remove(names: Annotated[list[str], typer.Argument(metavar="NAME...")], home: HomeOption = None) -> None:
    """Erase values; the tools that name them fail until they are set again."""
    with open_home(home=home) as here:
        here.secrets.remove(names)
    console.print(f"removed: {', '.join(names)}")


@app.command("rotate-key")
def rotate_key(home: HomeOption = None, json: JsonOption = None) -> None:
    """Change the master key; the old one is needed only for backups made before."""
    with open_home(home=home) as here:
        done = here.secrets.rotate_key()
        place = here.secrets.place
    if json:
        write_json({"key_id": done.key_id, "rewrapped": done.rewrapped}, json)
        return
    console.print(
        f"the master key {done.key_id} seals all secrets; {done.rewrapped} were wrapped anew", highlight=False
    )
    console.print(
        f"keys after it in {place} open backups made before now, and nothing else; delete them when no such backup is left",
        markup=False,
    )


def _ask(name: str) -> str:
    return typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True)


def _plain(secret: StoredSecret) -> dict[str, Any]:
    return {
        "name": secret.name,
        "version": secret.version,
        "created_at": secret.created_at.isoformat(),
        "changed_at": secret.changed_at.isoformat(),
        "opens": secret.opens,
    }


def _yes(opens: bool) -> str:
    return "yes" if opens else "no"
