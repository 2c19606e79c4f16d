"""What a source of tools offers: what can be registered, and what cannot and why."""

from dataclasses import dataclass, replace
from functools import cached_property

from tools.spec import ApprovalRule, ToolSpec
from tools.suspicion import Suspicion, suspicions


@dataclass(frozen=True, slots=True)
class Skipped:
    """A tool that the source offers and that cannot be registered."""

    name: str
    reason: str
    place: str | None = None
    """Where in the source the fault is, as a JSON pointer (RFC 6901)."""

    def plain(self) -> dict[str, str]:
        told = {"name": self.name, "reason": self.reason}
        return told if self.place is None else {**told, "place": self.place}


@dataclass(frozen=True)
class Survey:
    tools: tuple[ToolSpec, ...]
    skipped: tuple[Skipped, ...]

    def under(self, approval: ApprovalRule) -> "Survey":
        """The same with another rule for the calls of its tools: what a server cannot say of itself."""
        return replace(self, tools=tuple(spec.model_copy(update={"approval": approval}) for spec in self.tools))

    @cached_property
    def flagged(self) -> tuple[Suspicion, ...]:
        """What in the texts of its tools their owner should read before the policy does."""
        return tuple(found for spec in self.tools for found in suspicions(spec))
