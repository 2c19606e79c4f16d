"""The verified decision, written out as the policy would write it: what is imitated, and what a group learns from when none of its
rollouts finds it.

Of a group that fails every time all rewards are equal; it teaches nothing although the world has shown what was right. One rollout
then gives way to the decision that was verified, as in LUFFY (arXiv:2504.14945): it earns the full reward, and so draws the policy
towards it. Pure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from learner.matching import unwrap
from learner.rows import ExpectedCall, GroundTruth, Row
from learner.synth.parameters import split_name
from learner.synth.situations import NOT_PERMITTED_REASON, OUT_OF_SCOPE_REASON, UNSAFE_REASON, question_about
from runtime.decision import (
    Answer,
    Clarify,
    Decision,
    Execute,
    MissingParameter,
    RefusalCategory,
    Refuse,
    ToolCall,
    write_decision,
)


def demonstrate(row: Row) -> str | None:
    """The right decision as the policy would write it; None where the row does not say enough for that."""
    decision = decide(row)
    return None if decision is None else write_decision(decision)


def decide(row: Row) -> Decision | None:
    """The right decision; None where the row does not say enough for one."""
    return _decision(row.truth, _parameters(row.tools))


def _parameters(tools: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By tool name, in the order of its schema, which is the order that the starter writes arguments in."""
    functions = [tool["function"] for tool in tools]
    return {f["name"]: list(f.get("parameters", {}).get("properties", {})) for f in functions}


def _decision(truth: GroundTruth, parameters: Mapping[str, list[str]]) -> Decision | None:
    match truth.decision:
        case "execute" if truth.tool_calls:
            return Execute(calls=tuple(_call(call, parameters.get(call.name, [])) for call in truth.tool_calls))
        case "clarify" if truth.missing and all("tool" in part for part in truth.missing):
            missing = sorted(truth.missing, key=lambda m: _place(m["parameter"], parameters.get(m["tool"], [])))
            named = tuple(MissingParameter(tool=m["tool"], parameter=m["parameter"]) for m in missing)
            return Clarify(question=question_about([split_name(m.parameter) for m in named]), missing=named)
        case "refuse":
            category = RefusalCategory(truth.category or RefusalCategory.OUT_OF_SCOPE)
            return Refuse(reason=_REASONS.get(category, OUT_OF_SCOPE_REASON), category=category)
        case "answer" if truth.text:
            return Answer(text=truth.text)
        case _:
            return None


_REASONS = {RefusalCategory.UNSAFE: UNSAFE_REASON, RefusalCategory.NOT_PERMITTED: NOT_PERMITTED_REASON}


def _call(expected: ExpectedCall, order: list[str]) -> ToolCall:
    arguments: dict[str, Any] = {}
    for name in sorted(expected.arguments, key=lambda n: _place(n, order)):
        values, optional = unwrap(expected.arguments[name])
        if values and not optional:
            arguments[name] = values[0]
    return ToolCall(name=expected.name, arguments=arguments)


def _place(name: str, order: list[str]) -> int:
    return order.index(name) if name in order else len(order)
