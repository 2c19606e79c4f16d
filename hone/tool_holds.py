"""`hone tools diff`, `accept`, `disable`, `enable`: tools that are kept out of use, and what to do about it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hone.home import open_home
from hone.output import JsonOption, console, write_json
from hone.tool_text import plain
from tools.suspicion import Suspicion

HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


def diff(name: str, home: HomeOption = None, json: JsonOption = None) -> None:
    """What a quarantined tool's server changed in its definition."""
    with open_home(home=home) as here:
        change = here.holds.change(name)
    if json:
        flagged = [part.plain() for part in change.flagged]
        write_json({"name": name, "old": change.old, "new": change.new, "flagged": flagged}, json)
        return
    for line in change.lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if change.new is None:
        console.print(f"the server offers it no more: hone tools remove {name}")
        return
    tell_flagged(change.flagged, held=False)
    console.print(f"next: hone tools accept {name}, or hone tools remove {name}")


def accept(name: str, home: HomeOption = None, json: JsonOption = None) -> None:
    """Make a new version of what a quarantined tool's server offers now."""
    with open_home(home=home) as here:
        spec = here.holds.accept(name)
    if json:
        write_json(plain(spec), json)
        return
    console.print(f"{name} is in use again, with the definition that its server offers")


def disable(name: str, home: HomeOption = None) -> None:
    """Keep a tool out of use until it is enabled again."""
    with open_home(home=home) as here:
        here.holds.disable(name)
    console.print(f"{name} is disabled")


def enable(name: str, home: HomeOption = None) -> None:
    """Put a disabled tool into use."""
    with open_home(home=home) as here:
        here.holds.enable(name)
        standing = here.holds.standings().get(name)
    console.print(f"{name} is in use" if standing is None else f"{name} is {standing.state.value}: {standing.reason}")


def tell_flagged(flagged: Sequence[Suspicion], *, held: bool = True) -> None:
    for part in flagged:
        console.print(f"read this first: {part.name}: {part.place} {part.reason}", markup=False)
    if flagged and held:
        names = ", ".join(dict.fromkeys(part.name for part in flagged))
        console.print(f"disabled until you have read them: {names}; then: hone tools enable NAME")
