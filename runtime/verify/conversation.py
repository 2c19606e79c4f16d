"""How the verifier reads a thread: its turns, the decisions in order, and what the user's next message means.

Nothing here judges. The readings of users' messages go by fixed phrases, English only, and tend to see an objection
where there may be none: that leaves a trace unverified and does no harm.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from runtime.decision import Execute, ToolCall
from runtime.traces.schema import Span, Trace
from runtime.verify.sources import Context, message_text
from tools.spec import CallStatus

FOLLOW_TURNS = 3
"""How many turns ahead a later call still counts as bearing on a decision."""

BAD_CALL = frozenset({CallStatus.BAD_ARGUMENTS, CallStatus.REJECTED})
"""Failures that the arguments are to blame for."""
NOT_APPROVED = frozenset({CallStatus.DECLINED, CallStatus.LAPSED})
"""Calls that no person let run."""

_OBJECTION_FIRST = re.compile(
    r"\s*(no|nope|nah|not (that|quite|what)|wrong|incorrect|actually|wait|oops|undo|sorry|hold on)\b", re.IGNORECASE
)
_POLITE_NO = re.compile(
    r"\s*(no|nope|nah)\b[\s,.!]*"
    r"($|thanks|thank you|problem|worries|need|(that'?s|that is|it'?s) (all|it|fine|ok|good))",
    re.IGNORECASE,
)
_OBJECTION = re.compile(
    r"\bi (meant|said|asked|wanted)\b|\binstead\b|\bnot what i\b|\bthat('s| is| was|’s) (not|wrong|incorrect)\b"
    r"|\b(that|this) isn('|’)?t (right|what)\b|\brather than\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_COMMON = frozenset(
    {
        "a",
        "an",
        "and",
        "are",
        "at",
        "be",
        "can",
        "could",
        "do",
        "for",
        "from",
        "get",
        "give",
        "have",
        "how",
        "i",
        "in",
        "is",
        "it",
        "me",
        "my",
        "of",
        "on",
        "or",
        "please",
        "so",
        "some",
        "tell",
        "that",
        "the",
        "then",
        "there",
        "this",
        "to",
        "want",
        "was",
        "what",
        "will",
        "with",
        "would",
        "you",
        "your",
    }
)


@dataclass(frozen=True, slots=True)
class Step:
    """One decision of a thread."""

    turn: int
    """0-based place of its turn in the thread."""
    trace: Trace
    span: Span

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """What an execute called; nothing for other decisions."""
        return self.span.decision.calls if isinstance(self.span.decision, Execute) else ()

    @property
    def succeeded(self) -> bool:
        """All its calls were valid and went well."""
        outcomes = self.span.outcomes
        all_ok = bool(outcomes) and all(outcome.status is CallStatus.OK for outcome in outcomes)
        return all_ok and not self.span.violations

    @property
    def failed_by_arguments(self) -> bool:
        return bool(self.calls) and (
            bool(self.span.violations) or any(outcome.status in BAD_CALL for outcome in self.span.outcomes)
        )

    @property
    def schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """Tool name → JSON schema of its arguments, for the tools that were shown."""
        functions = [tool.get("function", {}) for tool in self.span.tools]
        return {function["name"]: function.get("parameters") or {} for function in functions if "name" in function}

    def context(self) -> Context:
        """What the policy was shown when it decided."""
        return Context.of(self.span.messages, today=self.trace.created_at.astimezone(UTC).date())


class Conversation:
    """A thread's turns, oldest first. Turns in which nothing was decided are left out."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        self._traces = [trace for trace in traces if trace.spans]
        self.steps = tuple(Step(turn, trace, span) for turn, trace in enumerate(self._traces) for span in trace.spans)

    def next_turn(self, step: Step) -> Trace | None:
        following = step.turn + 1
        return self._traces[following] if following < len(self._traces) else None

    def replies(self, turn: int) -> tuple[str, ...]:
        """What the user said to begin a turn: several messages where nothing was decided in between."""
        return tuple(message_text(message) for message in _opening(self._traces[turn]))

    def request(self, turn: int) -> str:
        """The same as one text."""
        return "\n".join(self.replies(turn))

    def before(self, step: Step) -> Iterator[Step]:
        """Earlier decisions of the same turn."""
        return (other for other in self.steps if other.turn == step.turn and other.span.index < step.span.index)

    def after(self, step: Step, *, turns: int = FOLLOW_TURNS) -> Iterator[Step]:
        """Later decisions in order: of the same turn, and of this many turns more."""
        for other in self.steps:
            is_later = (other.turn, other.span.index) > (step.turn, step.span.index)
            if is_later and other.turn <= step.turn + turns:
                yield other

    def supplied(self, step: Step, until: Step) -> Context:
        """What the user said after a decision, up to a later one: the replies that open the turns between them."""
        messages: list[Mapping[str, Any]] = []
        for turn in range(step.turn + 1, until.turn + 1):
            reply = _opening(self._traces[turn])
            shown = self._traces[turn].spans[0].messages
            before = shown[: len(shown) - len(reply)]
            if before and before[-1].get("role") == "assistant":
                messages.append(before[-1])
            messages += reply
        return Context.of(messages, today=step.context().today)


def _opening(trace: Trace) -> list[Mapping[str, Any]]:
    """The user's messages at the end of what the turn began with."""
    opening: list[Mapping[str, Any]] = []
    for message in reversed(trace.spans[0].messages):
        if message.get("role") != "user":
            break
        opening.insert(0, message)
    return opening


def objects(text: str) -> bool:
    """Whether a message says that what was done is not what was wanted."""
    if _POLITE_NO.match(text):
        return False
    return bool(_OBJECTION_FIRST.match(text) or _OBJECTION.search(text))


def repeats(before: str, after: str) -> bool:
    """Whether a message asks for the same thing again, in nearly the same words."""
    a, b = _content(before), _content(after)
    return bool(a and b) and len(a & b) / len(a | b) >= 0.8


def rephrases(before: str, after: str) -> bool:
    """Whether two messages share at least half of the content words of the shorter one."""
    a, b = _content(before), _content(after)
    return bool(a and b) and len(a & b) / min(len(a), len(b)) >= 0.5


def _content(text: str) -> set[str]:
    words = {word.casefold() for word in _WORD.findall(text)}
    return words - _COMMON or words
