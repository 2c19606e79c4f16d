"""All built-in tools, as the specs to register and the functions to run."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.builtin.arithmetic import arithmetic_tools
from tools.builtin.declaration import Builtin
from tools.builtin.notebook import Notebook, notebook_tools
from tools.builtin.statistics import statistics_tools
from tools.builtin.time import time_tools
from tools.builtin.units import unit_tools
from tools.spec import ToolSpec

NOTEBOOK_FILE = "notebook.sqlite"


def builtin_tools(home: Path) -> list[ToolSpec]:
    """What to register. Args: home: the folder that holds hone's state; nothing is made in it before a tool is used."""
    return [tool.spec for tool in _shelf(home, _utc_now)]


def builtin_functions(home: Path, *, now: Callable[[], datetime] | None = None) -> Mapping[str, Callable[..., Any]]:
    """What `tools.execution.Executor` runs, by name. Args: now: the time, with its zone."""
    return {tool.name: tool.function for tool in _shelf(home, now or _utc_now)}


def _shelf(home: Path, now: Callable[[], datetime]) -> tuple[Builtin, ...]:
    return (
        *time_tools(now),
        *unit_tools(),
        *statistics_tools(),
        *arithmetic_tools(),
        *notebook_tools(Notebook(Path(home) / NOTEBOOK_FILE, now)),
    )


def _utc_now() -> datetime:
    return datetime.now(UTC)
