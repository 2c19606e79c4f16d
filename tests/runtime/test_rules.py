"""Operator's rules: what they prove, and what a bad one says."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runtime.decision import Answer, Decision, RefusalCategory, Refuse
from runtime.errors import BadSettings
from runtime.traces.schema import Span, Trace, TraceStatus, VerdictOutcome
from runtime.verify.rules import RefuseRule, judge_by_rules, read_rules

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = RefuseRule(pattern=r"\bhack\b", category=RefusalCategory.UNSAFE)


def turn(text: str, decision: Decision) -> Trace:
    span = Span(
        id="t.0",
        trace_id="t",
        index=0,
        messages=({"role": "user", "content": text},),
        tools=(),
        prompt_token_ids=(1,),
        completion_token_ids=(2,),
        logprobs=(0.0,),
        text="",
        decision=decision,
    )
    return Trace(
        id="t",
        thread_id="x",
        created_at=NOW,
        model="m",
        adapter=None,
        adapter_sha256=None,
        status=TraceStatus.FINISHED,
        spans=(span,),
    )


def test_a_refusal_that_a_rule_asks_for_is_verified() -> None:
    refused = Refuse(reason="no", category=RefusalCategory.UNSAFE)
    verdict = judge_by_rules([turn("Hack the bank", refused)], [RULE], now=NOW)["t.0"]
    assert verdict.outcome is VerdictOutcome.VERIFIED
    assert verdict.ground_truth == {"decision": "refuse", "category": "unsafe"}


@pytest.mark.parametrize("decision", [Answer(text="sure"), Refuse(reason="no", category=RefusalCategory.UNAVAILABLE)])
def test_anything_else_is_refuted(decision: Decision) -> None:
    assert judge_by_rules([turn("hack it", decision)], [RULE], now=NOW)["t.0"].outcome is VerdictOutcome.REFUTED


def test_a_rule_that_does_not_match_says_nothing() -> None:
    assert judge_by_rules([turn("hackney carriage", Answer(text="hi"))], [RULE], now=NOW) == {}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[{]", "not JSON"),
        ('[{"pattern": "(", "category": "unsafe"}]', "0.pattern"),
        ('[{"pattern": "a", "category": "rude"}]', "0.category"),
    ],
)
def test_a_bad_rule_is_named(tmp_path: Path, content: str, named: str) -> None:
    path = tmp_path / "rules.json"
    path.write_text(content)
    with pytest.raises(BadSettings, match=named):
        read_rules(path)


def test_rules_are_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([{"pattern": "a", "category": "unsafe"}, {"pattern": "b", "category": "out_of_scope"}]))
    assert [r.pattern for r in read_rules(path)] == ["a", "b"]
