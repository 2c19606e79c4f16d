"""`hone system-prompt`: what the policy is told at the beginning of each turn of a tenant."""

from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.keys_command import HomeOption, TenantOption
from hone.output import JsonOption, console, write_json
from runtime.agent.system_prompts import SystemPrompt

app = typer.Typer(help="Show, set and clear what the policy is told first.", no_args_is_help=True)


@app.command()
def show(tenant: TenantOption = None, home: HomeOption = None, json: JsonOption = None) -> None:
    """What counts for the tenant: its own, else that of all tenants."""
    with open_home(home=home, tenant=tenant) as here:
        _tell(here.system_prompts.get(), json)


@app.command("set")
def set_prompt(
    file: Annotated[Path, typer.Argument(help="A text file.", exists=True, dir_okay=False, allow_dash=True)],
    tenant: TenantOption = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Give the tenant one of its own (`shared`: one for all that have none); running servers follow within two seconds."""
    text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text(encoding="utf-8")
    with open_home(home=home, tenant=tenant) as here:
        _tell(here.system_prompts.set(text), json)


@app.command()
def clear(tenant: TenantOption = None, home: HomeOption = None) -> None:
    """Take the tenant's own away."""
    with open_home(home=home, tenant=tenant) as here:
        here.system_prompts.clear()


def _tell(prompt: SystemPrompt | None, json: str | None) -> None:
    if json:
        write_json(None if prompt is None else {"tenant": prompt.tenant, "text": prompt.text}, json)
        return
    console.print("none" if prompt is None else prompt.text, markup=False, highlight=False)
