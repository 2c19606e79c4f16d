"""What recorded turns say of one tool: its calls, the judged decisions about it, and the arguments that failed. Pure.

Only names of arguments and reasons are told, no values: those are the users'.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from runtime.decision import Clarify, Decision, DecisionKind, Execute, ToolCall
from runtime.report.measurements import KINDS
from runtime.traces.schema import Sighting, VerdictOutcome
from runtime.verify.grounding import same_json
from tools.spec import CallStatus

EXAMPLES = 5
"""Trace ids of each sort."""
_NAMES = re.compile(r"[^\s{}\"]+(?:, [^\s{}\"]+)*")
_TYPE = re.compile(r"is not of type (?P<wanted>[\w ]+)$")
_REASONS = (
    (re.compile(r"required, but missing$"), "left out"),
    (re.compile(r"no such parameter; there are: "), "no such parameter"),
    (re.compile(r"is not one of "), "not one of the options"),
    (re.compile(r"does not match the pattern "), "does not match the pattern"),
    (re.compile(r"is not (?:a|an) "), "not in the right form"),
    (re.compile(r"(?:less|greater) than |multiple of |too (?:long|short)"), "out of range"),
)


class ArgumentFault(BaseModel):
    model_config = ConfigDict(frozen=True)

    argument: str
    reason: str
    count: int


class ToolRuns(BaseModel):
    """Over all decisions about one tool, newest first."""

    model_config = ConfigDict(frozen=True)

    decisions: int
    calls: int
    outcomes: dict[str, int]
    """Status of a call (`tools.spec.CallStatus`) → calls; `not_run`: the client ran it, or it stood beside a faulty one."""
    verified: int
    refuted: int
    confusion: dict[str, dict[str, int]]
    """Right kind → decided kind → judged decisions. A refusal that was right names no tool, so it is seen in the cases alone."""
    unreadable: int
    """Judged decisions that were plain text or could not be read; they are in no cell of the confusion."""
    by_adapter: dict[str, dict[str, int]]
    """Adapter (`base`) → {"verified", "refuted"}."""
    failing_arguments: tuple[ArgumentFault, ...]
    """Most frequent first."""
    example_traces: dict[str, tuple[str, ...]]
    """Sort (`verified`, `refuted`, `failed_call`) → ids of the newest traces."""

    @property
    def judged(self) -> int:
        return self.verified + self.refuted


def runs_of(tool: str, sightings: Sequence[Sighting]) -> ToolRuns:
    """Args: sightings: newest first; those that have nothing to do with the tool are passed over."""
    about = [sighting for sighting in sightings if tool in _named(sighting)]
    judged = [sighting for sighting in about if sighting.truth in KINDS and sighting.verdict is not None]
    cells = Counter((sighting.truth, sighting.decision.kind.value) for sighting in judged)
    verdicts = Counter(sighting.verdict for sighting in judged)
    statuses = Counter(status for sighting in about for status in _statuses(tool, sighting))
    return ToolRuns(
        decisions=len(about),
        calls=statuses.total(),
        outcomes=dict(sorted(statuses.items())),
        verified=verdicts[VerdictOutcome.VERIFIED],
        refuted=verdicts[VerdictOutcome.REFUTED],
        confusion={truth: {kind: cells[truth, kind] for kind in KINDS} for truth in KINDS},
        unreadable=sum(n for (_, decided), n in cells.items() if decided not in KINDS),
        by_adapter=_by_adapter(judged),
        failing_arguments=_most_frequent(fault for sighting in about for fault in _faults(tool, sighting)),
        example_traces=_examples(tool, about),
    )


def _named(sighting: Sighting) -> set[str]:
    """Tools that a decision, or the right one in its place, is about."""
    truth = sighting.ground_truth or {}
    named = {call["name"] for call in truth.get("tool_calls", ())} | {item["tool"] for item in truth.get("missing", ())}
    match sighting.decision:
        case Execute(calls=calls):
            named |= {call.name for call in calls}
        case Clarify(missing=missing):
            named |= {item.tool for item in missing}
    return named


def _calls(decision: Decision, tool: str) -> list[ToolCall]:
    return [call for call in decision.calls if call.name == tool] if isinstance(decision, Execute) else []


def _statuses(tool: str, sighting: Sighting) -> Iterator[str]:
    ran = [outcome.status.value for outcome in sighting.outcomes if outcome.call.name == tool]
    yield from ran
    yield from ["not_run"] * (len(_calls(sighting.decision, tool)) - len(ran))


def _by_adapter(judged: Sequence[Sighting]) -> dict[str, dict[str, int]]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for sighting in judged:
        found[sighting.adapter or "base"][str(sighting.verdict)] += 1
    return {
        adapter: {outcome: counts[outcome] for outcome in (VerdictOutcome.VERIFIED.value, VerdictOutcome.REFUTED.value)}
        for adapter, counts in sorted(found.items())
    }


def _faults(tool: str, sighting: Sighting) -> Iterator[tuple[str, str]]:
    """Argument and reason: what broke the schema, then what hindsight shows to be wrong."""
    for violation in sighting.violations:
        name, _, rest = violation.partition(": ")
        if name == tool:
            yield from _schema_faults(rest)
    if sighting.verdict is VerdictOutcome.REFUTED and not sighting.violations:
        yield from _hindsight_faults(tool, sighting)


def _schema_faults(message: str) -> Iterator[tuple[str, str]]:
    where, separator, problem = message.partition(": ")
    if not separator or not _NAMES.fullmatch(where):
        return  # about the arguments as a whole
    reason = next((told for pattern, told in _REASONS if pattern.search(problem)), "does not fit the schema")
    if found := _TYPE.search(problem):
        reason = f"not of type {found['wanted']}"
    for name in where.split(", "):
        yield re.split(r"[.\[]", name)[0], reason


def _hindsight_faults(tool: str, sighting: Sighting) -> Iterator[tuple[str, str]]:
    truth = sighting.ground_truth or {}
    given = _calls(sighting.decision, tool)
    right = [call for call in truth.get("tool_calls", ()) if call["name"] == tool]
    if len(given) == len(right) == 1:
        yield from _differences(given[0].arguments, right[0].get("arguments", {}))
    missing = {item["parameter"] for item in truth.get("missing", ()) if item["tool"] == tool}
    if sighting.decision.kind is DecisionKind.EXECUTE:
        yield from ((name, "guessed, should have been asked for") for name in sorted(missing))
    if isinstance(sighting.decision, Clarify):
        asked = {item.parameter for item in sighting.decision.missing if item.tool == tool}
        yield from ((name, "asked for, though it was given") for name in sorted(asked - missing))
        yield from ((name, "not asked for, though it was missing") for name in sorted(missing - asked) if asked)


def _differences(given: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted({*given, *right}):
        if name not in given:
            yield name, "left out"
        elif name not in right:
            yield name, "not wanted"
        elif not same_json(given[name], right[name]):
            yield name, "wrong value"


def _most_frequent(faults: Iterator[tuple[str, str]]) -> tuple[ArgumentFault, ...]:
    counted = sorted(Counter(faults).items(), key=lambda item: (-item[1], item[0]))
    return tuple(ArgumentFault(argument=name, reason=reason, count=count) for (name, reason), count in counted)


def _examples(tool: str, about: Sequence[Sighting]) -> dict[str, tuple[str, ...]]:
    sorts: dict[str, list[str]] = {"verified": [], "refuted": [], "failed_call": []}
    for sighting in about:
        if sighting.verdict is VerdictOutcome.VERIFIED or sighting.verdict is VerdictOutcome.REFUTED:
            sorts[sighting.verdict.value].append(sighting.trace_id)
        if any(outcome.call.name == tool and outcome.status is not CallStatus.OK for outcome in sighting.outcomes):
            sorts["failed_call"].append(sighting.trace_id)
    return {sort: tuple(dict.fromkeys(ids))[:EXAMPLES] for sort, ids in sorts.items()}
