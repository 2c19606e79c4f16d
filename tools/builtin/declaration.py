"""How a built-in tool is declared: its contract beside its function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.spec import ApprovalRule, BuiltinBackend, SideEffect, ToolSpec


@dataclass(frozen=True, slots=True)
class Builtin:
    name: str
    description: str
    function: Callable[..., Any]
    """Called with the arguments by name, in a thread; returns JSON data, raises `tools.outcome.CallFault`."""
    properties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    side_effect: SideEffect = SideEffect.READ

    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            name=self.name,
            description=self.description,
            parameters={
                "type": "object",
                "properties": {name: dict(schema) for name, schema in self.properties.items()},
                "required": list(self.required),
                "additionalProperties": False,
            },
            backend=BuiltinBackend(function=self.name),
            side_effect=self.side_effect,
            approval=ApprovalRule.BY_EFFECT if self.side_effect is SideEffect.READ else ApprovalRule.WAIVED,
            never_train=False,
        )
