"""Which calls wait for a person, what a yes is bound to, and the words that are one. Pure.

Whatever a tool that is not built-in has said may have been written by anybody, and may ask the policy for anything. From
then on, calls that change the world wait for a person even where that was waived.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.agent.messages import AskedFor, Message, PendingCall, Reply
from runtime.approvals.schema import Approval, Ask, Verdict, Why
from runtime.decision import DecisionKind
from tools.spec import ApprovalRule, BuiltinBackend, SideEffect, ToolSpec

WORDS: Mapping[str, Verdict] = {"approve": Verdict.APPROVE, "decline": Verdict.DECLINE}
"""A message that is one of these and nothing else, right after the question, answers it; capitals do not matter."""
ALL = "*"
"""In the operator's lists: every tool."""

_BECAUSE: Mapping[Why, str] = {
    Why.WRITES: "It changes something.",
    Why.ALWAYS: "Its developer wants each call approved.",
    Why.UNSURE: "I am not sure that this is what you mean.",
    Why.UNTRUSTED: "It changes something, and this conversation holds text from a tool that anybody may have written.",
}


@dataclass(frozen=True, slots=True)
class ConsentRules:
    """What the operator has settled; names of tools, or `*` for all."""

    waived: frozenset[str] = frozenset()
    """Tools whose own waiver the operator accepts."""
    trusted: frozenset[str] = frozenset()
    """Tools whose output may be followed by calls that change the world."""
    confirm_below: float = 0.0
    """Calls of which the policy is less sure than this wait, whatever their tool does."""

    def why(self, spec: ToolSpec, *, tainted: bool, confidence: float) -> Why | None:
        """Why a call of this tool waits for a person; None: it does not.

        Args:
            tainted: the thread holds untrusted output.
            confidence: of the decision that makes the call (`runtime.decision.confidence`).
        """
        if spec.approval is ApprovalRule.ALWAYS:
            return Why.ALWAYS
        if spec.side_effect is not SideEffect.READ:
            if tainted:
                return Why.UNTRUSTED
            is_waived = spec.approval is ApprovalRule.WAIVED and _lists(self.waived, spec.name)
            if spec.side_effect is SideEffect.WRITE and not is_waived:
                return Why.WRITES
        return Why.UNSURE if confidence < self.confirm_below else None

    def trusts(self, spec: ToolSpec) -> bool:
        return isinstance(spec.backend, BuiltinBackend) or _lists(self.trusted, spec.name)

    def asks(
        self,
        pending: Sequence[PendingCall],
        specs: Mapping[str, ToolSpec],
        *,
        tainted: bool,
        confidence: float,
        thread_id: str,
    ) -> list[Ask]:
        """The calls of one decision that wait."""
        found = []
        for part in pending:
            spec = specs[part.call.name]
            why = self.why(spec, tainted=tainted, confidence=confidence)
            if why is not None:
                found.append(
                    Ask(
                        call_id=part.id,
                        tool=spec.name,
                        tool_sha256=spec.sha256,
                        arguments=part.call.arguments,
                        digest=call_digest(thread_id, part, spec),
                        why=why,
                    )
                )
        return found


def _lists(names: frozenset[str], name: str) -> bool:
    return ALL in names or name in names


def is_tainted(messages: Sequence[Message]) -> bool:
    """Whether a conversation holds a tool's output that was not marked as trusted when it came in."""
    return any(message["role"] == "tool" and not message.get("trusted") for message in messages)


def call_digest(thread_id: str, part: PendingCall, spec: ToolSpec) -> str:
    """What an approval is bound to: this thread, this call, this version of the tool, exactly these arguments."""
    bound = [thread_id, part.id, part.call.name, spec.sha256, part.call.arguments]
    return hashlib.sha256(json.dumps(bound, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def word_of(messages: Sequence[Message]) -> Verdict | None:
    """The answer that a client's new messages are; None: they are something else."""
    if len(messages) != 1 or messages[0]["role"] != "user":
        return None
    return WORDS.get(str(messages[0].get("content") or "").strip().casefold())


def question(approval: Approval) -> str:
    """What a person is asked: the tool, why, and the arguments in full."""
    ask = approval.ask
    yes, no = (next(word for word, verdict in WORDS.items() if verdict is wanted) for wanted in Verdict)
    return (
        f"May I run {ask.tool} with these arguments?\n\n{_readable(ask.arguments)}\n\n{_BECAUSE[ask.why]} "
        f'Answer "{yes}" or "{no}", by {approval.expires_at:%Y-%m-%d %H:%M} UTC; nothing runs until then.'
    )


def waiting_reply(approval: Approval) -> Reply:
    """What the user gets when the turn begins to wait."""
    asked = AskedFor(
        id=approval.id,
        tool=approval.ask.tool,
        arguments=approval.ask.arguments,
        why=approval.ask.why,
        expires_at=approval.expires_at,
    )
    return Reply(decision=DecisionKind.EXECUTE, text=question(approval), approval=asked)


def _readable(arguments: Mapping[str, Any]) -> str:
    """JSON in which nothing hides: what a screen would not show, or would show in another order, is escaped."""
    text = json.dumps(arguments, ensure_ascii=False, indent=2)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
