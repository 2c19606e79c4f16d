"""One call of a tool by its developer, to see that it works: with arguments that they give, or that its definition holds."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tools.examples import ExecuteExample
from tools.json_schema import argument_errors
from tools.outcome import CallResult
from tools.spec import SideEffect, ToolSpec


@dataclass(frozen=True, slots=True)
class Trial:
    tool: str
    arguments: dict[str, Any]
    result: CallResult | None
    """None: it was not called."""
    why_not: str | None = None

    @property
    def status(self) -> str:
        return self.result.status.value if self.result is not None else "not_called"

    def plain(self) -> dict[str, Any]:
        told = {"tool": self.tool, "status": self.status, "arguments": self.arguments}
        if self.result is None:
            return {**told, "reason": self.why_not}
        return {**told, "result": self.result.content, "latency_ms": round(self.result.latency_ms, 1)}


class Runner(Protocol):
    """Such as `tools.execution.Executor`."""

    async def run(self, spec: ToolSpec, arguments: dict[str, Any], *, call_id: str) -> CallResult: ...


async def try_tool(
    runner: Runner, spec: ToolSpec, arguments: Mapping[str, Any] | None = None, *, may_change: bool = False
) -> Trial:
    """Calls a tool, unless that would change something or its arguments are not known.

    Args:
        arguments: None: those of the definition's first example, else what its schema names.
        may_change: the developer wants it called whatever it changes.
    """
    given, missing = (dict(arguments), []) if arguments is not None else known_arguments(spec)
    if missing:
        return Trial(spec.name, given, None, f"no value is known for {', '.join(missing)}: give the arguments")
    faults = argument_errors(spec.parameters, given)
    if faults and arguments is None:
        return Trial(spec.name, given, None, f"what its definition names does not fit its schema: {faults[0]}")
    if spec.side_effect is not SideEffect.READ and not may_change:
        why_not = f"its side effect is {spec.side_effect.value}: say that it may be called (--yes, may_change)"
        return Trial(spec.name, given, None, why_not)
    return Trial(spec.name, given, await runner.run(spec, given, call_id=f"test_{uuid.uuid4().hex}"))


def known_arguments(spec: ToolSpec) -> tuple[dict[str, Any], list[str]]:
    """Arguments that a definition holds, and the required ones for which it holds none."""
    for example in spec.examples:
        if isinstance(example, ExecuteExample):
            return dict(example.arguments), []
    return _known(spec.parameters, "")


def _known(schema: Mapping[str, Any], path: str) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    missing: list[str] = []
    for name in schema.get("required", ()):
        part = schema.get("properties", {}).get(name)
        part = part if isinstance(part, Mapping) else {}
        value, holes = _value(part, f"{path}{name}")
        missing += holes
        if not holes:
            found[name] = value
    return found, missing


def _value(schema: Mapping[str, Any], path: str) -> tuple[Any, list[str]]:
    for key in ("const", "default", "example"):
        if key in schema:
            return schema[key], []
    for key in ("examples", "enum"):
        if isinstance(schema.get(key), list) and schema[key]:
            return schema[key][0], []
    if schema.get("type") == "object" and schema.get("required"):
        return _known(schema, f"{path}.")
    return None, [path]
