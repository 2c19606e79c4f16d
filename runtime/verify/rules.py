"""What the operator never serves: patterns over the user's words, with the refusal that is right for them.

A rule is a label that the operator gives ahead of time, so it proves a refusal right, and anything else wrong. Pure, but for
`read_rules`.
"""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_validator

from runtime.decision import RefusalCategory, Refuse
from runtime.errors import BadSettings
from runtime.prompt import Message
from runtime.traces.schema import Span, Trace, Verdict, VerdictOutcome

OPERATOR_RULE = "operator_rule"
"""The reason of every verdict that a rule gives."""


class RefuseRule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str
    """Regular expression, searched in the user's last message without regard to case."""
    category: RefusalCategory

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as e:
            raise ValueError(f"{pattern!r} is no regular expression: {e}") from e
        return pattern

    def matches(self, text: str) -> bool:
        return re.search(self.pattern, text, re.IGNORECASE) is not None


_RULES = TypeAdapter(tuple[RefuseRule, ...])


def read_rules(path: Path) -> tuple[RefuseRule, ...]:
    """A JSON list of {"pattern", "category"}. Raises: BadSettings: naming the entry at fault."""
    try:
        return _RULES.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as e:
        raise BadSettings(f"{path}:{e.lineno}: not JSON: {e.msg}") from e
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadSettings(f"{path}: rule {where}: {first['msg']}") from e


def judge_by_rules(traces: Sequence[Trace], rules: Sequence[RefuseRule], *, now: datetime) -> dict[str, Verdict]:
    """Verdicts, by span id, on the first decision of each turn whose user message a rule matches; the first rule counts."""
    verdicts: dict[str, Verdict] = {}
    for trace in traces:
        if not trace.spans:
            continue
        span = trace.spans[0]
        if rule := first_broken(rules, asked(span.messages)):
            verdicts[span.id] = _verdict(span, rule, now)
    return verdicts


def asked(messages: Sequence[Message]) -> str:
    """What the user said last; nothing where something came after it."""
    last = messages[-1] if messages else {}
    content = last.get("content")
    return content if last.get("role") == "user" and isinstance(content, str) else ""


def first_broken(rules: Sequence[RefuseRule], text: str) -> RefuseRule | None:
    """The rule that counts for what a user said; None where it breaks none."""
    return next((rule for rule in rules if rule.matches(text)), None)


def _verdict(span: Span, rule: RefuseRule, now: datetime) -> Verdict:
    right = isinstance(span.decision, Refuse) and span.decision.category is rule.category
    return Verdict(
        span_id=span.id,
        outcome=VerdictOutcome.VERIFIED if right else VerdictOutcome.REFUTED,
        reason=OPERATOR_RULE,
        ground_truth={"decision": "refuse", "category": rule.category.value},
        decided_at=now,
    )
