"""The reward: how right a decision is, in tiers, decided by rule alone.

    1.0          the right decision in full
    0.25 to 0.5  the right tool with wrong arguments, or the right decision with wrong details
    0.0          any other decision
    -0.25        an output that is no decision

Within the middle tier the reward of calls and questions is 0.25 + 0.25 x the share of details that are right, so that two rollouts
which are both wrong still differ; it stays at or below 0.5, which a refusal of another category gets. Only `exact` (reward 1.0)
counts as right.

What the tiers defend against:

- A call too many is an effect that nobody asked for: any call beyond the expected ones gives 0.0. So the same call
  repeated, or every tool called with empty arguments, earns nothing.
- Naming every parameter as missing lowers the share (Jaccard), so clarifying about everything does not pay.
- Clarify, refuse and answer are told apart; taking one for another gives 0.0.
- A string where the schema wants a number, array or boolean is a wrong argument, not a pass.
- An invalid output costs more than any wrong decision, so breaking the format on hard requests does not pay.

Pure: no I/O, no state.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from learner.matching import UNSET, same, unwrap
from learner.rows import ExpectedCall, GroundTruth, Row
from runtime.decision import Answer, Clarify, Decision, Execute, Invalid, Refuse, ToolCall, parse_decision

FULL = 1.0
PARTIAL_MIN = 0.25
PARTIAL_MAX = 0.5
WRONG = 0.0
INVALID = -0.25


@dataclass(frozen=True, slots=True)
class Score:
    reward: float
    exact: bool
    reasons: tuple[str, ...] = ()
    """What is wrong, in words; empty when exact."""


def score(decision: Decision, truth: GroundTruth, tools: Sequence[Mapping[str, Any]]) -> Score:
    """Scores one decision.

    Args:
        tools: the registered tools that were shown, in OpenAI's shape; their schemas say how arguments compare.
    """
    if isinstance(decision, Invalid):
        return Score(INVALID, False, (decision.error,))
    if decision.kind.value != truth.decision:
        return Score(WRONG, False, (f"{decision.kind.value} instead of {truth.decision}",))
    match decision:
        case Execute():
            return _score_execute(decision, truth, tools)
        case Clarify():
            return _score_clarify(decision, truth)
        case Refuse():
            return _score_refuse(decision, truth)
        case Answer():
            # The text is not compared: after a tool result, that the policy answers is what can be checked by rule.
            return Score(FULL, True) if decision.text.strip() else Score(PARTIAL_MAX, False, ("an empty answer",))


def score_text(text: str, row: Row) -> Score:
    """Scores what a policy wrote for a row's prompt."""
    return score(read_decision(text, row), row.truth, row.tools)


def read_decision(text: str, row: Row) -> Decision:
    """Parses as serving does."""
    names = [tool["function"]["name"] for tool in row.tools]
    after_tool_result = bool(row.prompt) and row.prompt[-1].get("role") == "tool"
    return parse_decision(text, names, after_tool_result=after_tool_result)


def _partial(share: float) -> float:
    return PARTIAL_MIN + (PARTIAL_MAX - PARTIAL_MIN) * share


def _score_clarify(decision: Clarify, truth: GroundTruth) -> Score:
    if not decision.question.strip():
        return Score(PARTIAL_MIN, False, ("no question",))
    any_tool = any("tool" not in missing for missing in truth.missing)
    expected = {("" if any_tool else missing["tool"], missing["parameter"]) for missing in truth.missing}
    named = {("" if any_tool else missing.tool, missing.parameter) for missing in decision.missing}
    if not expected or expected == named:
        return Score(FULL, True)
    share = len(expected & named) / len(expected | named)
    wanted = ", ".join(sorted(f"{tool}.{parameter}".removeprefix(".") for tool, parameter in expected))
    return Score(_partial(share), False, (f"missing is {wanted}",))


def _score_refuse(decision: Refuse, truth: GroundTruth) -> Score:
    if truth.category is None or decision.category.value == truth.category:
        return Score(FULL, True)
    return Score(PARTIAL_MAX, False, (f"category {decision.category.value} instead of {truth.category}",))


def _score_execute(decision: Execute, truth: GroundTruth, tools: Sequence[Mapping[str, Any]]) -> Score:
    expected, given = Counter(c.name for c in truth.tool_calls), Counter(c.name for c in decision.calls)
    if extra := given - expected:
        return Score(WRONG, False, tuple(f"call of {name} that is not wanted" for name in sorted(extra)))
    pairs = _pairs(decision, truth, tools)
    reasons = [f"{name} is not called" for name in sorted(expected - given)]
    reasons += [
        f"wrong arguments of {call.name}: {', '.join(sorted(_wrong_names(wanted, call, schema)))}"
        for wanted, call, schema, share in pairs
        if share < 1.0
    ]
    if not reasons:
        return Score(FULL, True)
    return Score(_partial(sum(pair.share for pair in pairs) / len(truth.tool_calls)), False, tuple(reasons))


@dataclass(frozen=True, slots=True)
class WrongArgument:
    tool: str
    argument: str
    expected: Any
    """UNSET: it should have been left out."""
    given: Any
    """UNSET: it was left out."""


@dataclass(frozen=True, slots=True)
class CallComparison:
    """How the calls of one decision stand to those of the label."""

    tools_right: bool
    """The same tools, each as often."""
    arguments_right: float
    """Mean share of right arguments over the calls; 0 where the tools are not right."""
    wrong: tuple[WrongArgument, ...] = ()
    """Where the tools are right."""


def compare_calls(decision: Decision, truth: GroundTruth, tools: Sequence[Mapping[str, Any]]) -> CallComparison:
    """Args: truth: a label that says execute."""
    calls = decision.calls if isinstance(decision, Execute) else ()
    if not isinstance(decision, Execute) or Counter(c.name for c in calls) != Counter(c.name for c in truth.tool_calls):
        return CallComparison(False, 0.0)
    pairs = _pairs(decision, truth, tools)
    wrong = tuple(
        WrongArgument(call.name, name, wanted.arguments.get(name, UNSET), call.arguments.get(name, UNSET))
        for wanted, call, schema, _ in pairs
        for name in sorted(_wrong_names(wanted, call, schema))
    )
    return CallComparison(True, sum(pair.share for pair in pairs) / len(pairs), wrong)


class _Pair(NamedTuple):
    wanted: ExpectedCall
    given: ToolCall
    schema: Mapping[str, Any]
    share: float
    """Of right arguments."""


def _pairs(decision: Execute, truth: GroundTruth, tools: Sequence[Mapping[str, Any]]) -> list[_Pair]:
    """Each given call with the wanted one that it is held against; in excess of what is wanted, with none."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in tools}
    pairs: list[_Pair] = []
    for name in sorted({call.name for call in decision.calls}):
        wanted = [call for call in truth.tool_calls if call.name == name]
        calls = [call for call in decision.calls if call.name == name]
        pairs += _match(wanted, calls, schemas.get(name, {}))
    return pairs


def _match(wanted: list[ExpectedCall], given: list[ToolCall], schema: Mapping[str, Any]) -> list[_Pair]:
    """Best one-to-one matching of calls of one tool.

    Full matches are found by augmenting paths, so that no order of the calls hides one; what is left over is paired
    greedily by share.
    """
    share = [[_right_share(expected, call, schema) for expected in wanted] for call in given]
    taken: dict[int, int] = {}  # index in wanted -> index in given

    def augment(call: int, seen: set[int]) -> bool:
        for slot in range(len(wanted)):
            if share[call][slot] == 1.0 and slot not in seen:
                seen.add(slot)
                if slot not in taken or augment(taken[slot], seen):
                    taken[slot] = call
                    return True
        return False

    left = {call for call in range(len(given)) if not augment(call, set())}
    for _, call, slot in sorted(((share[c][s], c, s) for c in left for s in range(len(wanted))), reverse=True):
        if call in left and slot not in taken:
            left.discard(call)
            taken[slot] = call
    return [_Pair(wanted[slot], given[call], schema, share[call][slot]) for slot, call in taken.items()]


def _right_share(expected: ExpectedCall, given: ToolCall, schema: Mapping[str, Any]) -> float:
    names = set(expected.arguments) | set(given.arguments)
    if not names:
        return 1.0
    return 1.0 - len(list(_wrong_names(expected, given, schema))) / len(names)


def _wrong_names(expected: ExpectedCall, given: ToolCall, schema: Mapping[str, Any]) -> Iterable[str]:
    properties = schema.get("properties", {})
    for name in {*expected.arguments, *given.arguments}:
        field = properties.get(name, {})
        wanted = expected.arguments.get(name, _default(field))
        if name in given.arguments:
            right = same(wanted, given.arguments[name], field)
        else:
            right = unwrap(wanted)[1] or same(wanted, _default(field), field)
        if not right:
            yield name


def _default(field: Any) -> Any:
    return field.get("default", UNSET) if isinstance(field, Mapping) else UNSET
