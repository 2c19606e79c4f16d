"""A tool's definition as its MCP server gave it: what it makes of a tool, and how two of them differ. Pure.

Definitions are kept whole, fields that nobody knows yet among them, since what a later reader makes of those counts too.
"""

import difflib
import hashlib
import json
import re
from typing import Any, TypeAlias

from mcp_types import Tool

from tools.mcp_session import McpServer
from tools.spec import McpBackend, SideEffect, ToolSpec

Definition: TypeAlias = dict[str, Any]

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")


def digest(definition: Definition) -> str:
    """sha256 of the canonical JSON: keys in order, no white space, ASCII."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def spec_of(server: McpServer, definition: Definition, *, prefix: str = "") -> ToolSpec:
    """The tool that a definition makes, pinned to it.

    Annotations are taken at their word for the side-effect class: `readOnlyHint` makes it read, `idempotentHint`
    idempotent, and silence write.

    Raises: ValidationError: it has no name that can be made one of ours, or is no definition at all.
    """
    tool = Tool.model_validate(definition, by_name=False)
    return ToolSpec(
        name=_NOT_IN_NAMES.sub("_", f"{prefix}{tool.name}"),
        description=tool.description or tool.title or "",
        parameters=tool.input_schema,
        backend=McpBackend(server=server, remote_name=tool.name, definition=definition),
        side_effect=_side_effect(tool),
    )


def redefined(spec: ToolSpec, backend: McpBackend, definition: Definition) -> ToolSpec:
    """The same tool after its owner accepted another definition: its name, limits and marks stay.

    Raises: ValidationError: as `spec_of`.
    """
    new = spec_of(backend.server, definition)
    changes = {name: getattr(new, name) for name in ("description", "parameters", "backend", "side_effect")}
    return spec.model_copy(update=changes)


def difference(old: Definition, new: Definition | None) -> list[str]:
    """A unified diff of the two as indented JSON; None: the server offers it no more."""
    before, after = (json.dumps(d, indent=1, sort_keys=True).splitlines() if d is not None else [] for d in (old, new))
    return list(difflib.unified_diff(before, after, "accepted", "offered", lineterm=""))


def _side_effect(tool: Tool) -> SideEffect:
    hints = tool.annotations
    if hints is not None and hints.read_only_hint:
        return SideEffect.READ
    if hints is not None and hints.idempotent_hint:
        return SideEffect.IDEMPOTENT
    return SideEffect.WRITE
