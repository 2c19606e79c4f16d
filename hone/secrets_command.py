"""`hone secrets`: values for tools, sealed in the database; they are written and never shown."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hone.home import open_home
from hone.output import JsonOption, console, show_table, write_json
from tools.errors import BadSecret
from tools.secret_bounds import Bounds
from tools.secret_store import StoredSecret, check_bounds, check_name, no_hosts

app = typer.Typer(help="Keep the secrets of tools.", no_args_is_help=True)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


HostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--host", metavar="HOST", help="Where it may be sent: api.example.com[:PORT], *.example.com; repeatable."
    ),
]
ToolsOption = Annotated[
    list[str] | None,
    typer.Option("--tool", metavar="NAME", help="Only tools of this name may send it, also with * and ?; repeatable."),
]


@app.command("set")
def set_secret(
    name: str, host: HostsOption = None, tool: ToolsOption = None, home: HomeOption = None, json: JsonOption = None
) -> None:
    """Keep a value, or a new one: from a prompt, or from standard input. Running servers use it from the next call on. A new
    value goes where the one before might, unless hosts are given."""
    check_name(name)  # before anyone types a value for it
    check_bounds(host, tool)
    with open_home(home=home) as here:
        if not host and here.secrets.bounds(name) is None:
            raise BadSecret(no_hosts(name))
        value = _ask(name) if sys.stdin.isatty() else sys.stdin.read()
        stored = here.secrets.set(name, value, hosts=host, tools=tool)
    if json:
        write_json(_plain(stored), json)
        return
    console.print(f"{stored.name} is set (version {stored.version}), for {_where(stored.bounds)}", highlight=False)


@app.command()
def bind(
    name: str,
    host: Annotated[list[str], typer.Option("--host", metavar="HOST", help="Where it may be sent; repeatable.")],
    tool: ToolsOption = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Say anew where a value may be sent, and by which tools; what was said before is over."""
    with open_home(home=home) as here:
        bounds = here.secrets.bind(name, hosts=host, tools=tool or ())
    if json:
        write_json({"name": name, "hosts": list(bounds.hosts), "tools": list(bounds.tools)}, json)
        return
    console.print(f"{name} is for {_where(bounds)}", highlight=False, markup=False)


@app.command("list")
def list_secrets(home: HomeOption = None, json: JsonOption = None) -> None:
    """Names, versions, dates, and where each may be sent; never values."""
    with open_home(home=home) as here:
        stored = here.secrets.list()
        problem = here.secrets.problem()
    if json:
        write_json({"secrets": [_plain(secret) for secret in stored], "problem": problem}, json)
        return
    rows = [
        [
            s.name,
            s.version,
            f"{s.changed_at:%Y-%m-%d %H:%M}",
            f"{s.created_at:%Y-%m-%d %H:%M}",
            _yes(s.opens),
            _where(s.bounds),
        ]
        for s in stored
    ]
    show_table("Secrets", ("name", "version", "set (UTC)", "first set (UTC)", "opens", "for"), rows)
    if unbound := [s.name for s in stored if not s.bounds.hosts]:
        told = f"sent nowhere until their hosts are named (hone secrets bind NAME --host HOST): {', '.join(unbound)}"
        console.print(told, markup=False, style="red")
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
        "hosts": list(secret.bounds.hosts),
        "tools": list(secret.bounds.tools),
    }


def _where(bounds: Bounds) -> str:
    hosts = ", ".join(bounds.hosts) or "nowhere"
    return f"{hosts} (tools: {', '.join(bounds.tools)})" if bounds.tools else hosts


def _yes(opens: bool) -> str:
    return "yes" if opens else "no"
