"""What the world proved about each decision of a thread.

`judge_thread` is a pure function over recorded turns. Only what happened counts: whether calls went through, what was
said by then, and what the user said next. A decision gets one of

- *verified*: it was right, and the ground truth says so;
- *refuted*: it was wrong, and the ground truth says what would have been right with what was known at the time;
- *unverified*: neither is proved. It has no ground truth and is not trained on.

A later success is hindsight only as far as its values were known when the decision was made: if the user supplied them
afterwards, the right decision was to ask. Verdicts may change as a thread goes on; judging again is how they do.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from runtime.decision import Clarify, DecisionKind, ToolCall
from runtime.traces.schema import Trace, TraceStatus, Verdict, VerdictOutcome
from runtime.verify.conversation import NOT_APPROVED, Conversation, Step, objects, repeats, rephrases
from runtime.verify.grounding import is_said, same_json, ungrounded
from runtime.verify.sources import Context
from tools.spec import CallStatus

Missing: TypeAlias = tuple[str, str]
"""Tool and parameter."""


class Reason(StrEnum):
    # verified
    SUCCEEDED = "succeeded"
    """Valid, grounded, went well, and the user did not object."""
    USER_SUPPLIED_VALUE = "user_supplied_value"
    """It asked for what was missing; the user gave it and the call went well."""
    # refuted
    CORRECTED_CALL = "corrected_call"
    """The call failed; a corrected one went well with what was known all along."""
    GUESSED = "guessed"
    """It called with a value that only the user could give, and later gave."""
    USER_CORRECTED = "user_corrected"
    """The user objected, and another call went well with what was known all along."""
    VALUE_WAS_GIVEN = "value_was_given"
    """It asked for what the conversation already held."""
    ASKED_TOO_LITTLE = "asked_too_little"
    """More was missing than it asked for."""
    REQUEST_WAS_SERVABLE = "request_was_servable"
    """It refused, asked about another tool, or wrote what could not be carried out; the request, rephrased, was served
    with what was known all along."""
    SHOULD_HAVE_ASKED = "should_have_asked"
    """Likewise, but with values that only the rephrased request gave."""
    REPAIRED = "repaired"
    """It wrote what cannot be read; the next attempt of the turn was right."""
    # unverified
    PENDING = "pending"
    """The user may still object."""
    WAITING = "waiting"
    """The call waits for a person."""
    NOT_APPROVED = "not_approved"
    """A person said no, or nobody said yes in time; what would have been right is not known."""
    NOT_RUN = "not_run"
    """The call was handed to the client; what came of it is not known here."""
    CALL_FAILED = "call_failed"
    """It failed, and nothing shows what would have been right."""
    UNCONFIRMED = "unconfirmed"
    """It was reported as done; the tool's own check says otherwise."""
    TOOL_FAILED = "tool_failed"
    """The tool broke; that says nothing about the call."""
    RETRY_SUCCEEDED = "retry_succeeded"
    """The same call went well later, so its arguments were not to blame."""
    REDUNDANT = "redundant"
    """The same call had been made in this turn."""
    UNGROUNDED = "ungrounded"
    """It went well with a value from nowhere."""
    USER_OBJECTED = "user_objected"
    USER_REPEATED = "user_repeated"
    TRUTH_NOT_KNOWN_THEN = "truth_not_known_then"
    """What would have been right could not be known at the time."""
    ASKED_BEYOND = "asked_beyond"
    """It asked for optional values too, which may be right or wrong."""
    NO_CALL_FOLLOWED = "no_call_followed"
    NOT_JUDGED = "not_judged"
    """Answers are not judged, nor is a call that went on with the user's answer to its tool: nothing was decided anew."""


_NO_PROOF_OF_SUCCESS = frozenset({Reason.USER_OBJECTED, Reason.USER_REPEATED, Reason.REDUNDANT})


def judge_thread(traces: Sequence[Trace], *, now: datetime, window_s: float, final: bool = False) -> list[Verdict]:
    """One verdict per span, in order.

    Args:
        traces: all turns of one thread, oldest first.
        now: the time of judging.
        window_s: how long, in seconds from a turn's start (where it waited for a person: from when it went on), the
            user's next message still counts as an objection to it; until then a success without one is pending.
        final: no more messages will come, so nothing is pending.
    """
    judge = _Judge(Conversation(traces), now=now, window_s=window_s, final=final)
    return judge.all()


class _Judge:
    """Judges from the last decision back to the first, since a later verdict bears on an earlier one."""

    def __init__(self, conversation: Conversation, *, now: datetime, window_s: float, final: bool) -> None:
        self._conversation = conversation
        self._now = now
        self._window_s = window_s
        self._final = final
        self._verdicts: dict[str, Verdict] = {}

    def all(self) -> list[Verdict]:
        for step in reversed(self._conversation.steps):
            self._verdicts[step.span.id] = self._judge(step)
        return [self._verdicts[step.span.id] for step in self._conversation.steps]

    def _judge(self, step: Step) -> Verdict:
        match step.span.decision.kind:
            case DecisionKind.EXECUTE:
                return self._execute(step)
            case DecisionKind.CLARIFY:
                return self._clarify(step)
            case DecisionKind.REFUSE:
                return self._refuse(step)
            case DecisionKind.INVALID:
                return self._invalid(step)
            case DecisionKind.ANSWER:
                return self._unverified(step, Reason.NOT_JUDGED)

    # execute

    def _execute(self, step: Step) -> Verdict:
        if any(outcome.status in NOT_APPROVED for outcome in step.span.outcomes):
            return self._unverified(step, Reason.NOT_APPROVED)
        if not step.span.completion_token_ids:
            return self._unverified(step, Reason.NOT_JUDGED)
        if step.failed_by_arguments:
            return self._failed(step)
        if not step.span.outcomes:
            waits = step.trace.status is TraceStatus.WAITING
            return self._unverified(step, Reason.WAITING if waits else Reason.NOT_RUN)
        if not step.succeeded:
            unconfirmed = any(outcome.status is CallStatus.UNCONFIRMED for outcome in step.span.outcomes)
            return self._unverified(step, Reason.UNCONFIRMED if unconfirmed else Reason.TOOL_FAILED)
        if _has_repeated_call([call for other in self._conversation.before(step) for call in _went_well(other)], step):
            return self._unverified(step, Reason.REDUNDANT)
        objected = self._objected(step)
        if objected is not None:
            return objected
        if self._is_open(step):
            return self._unverified(step, Reason.PENDING)
        context = step.context()
        if any(ungrounded(call.arguments, step.schemas.get(call.name, {}), context) for call in step.calls):
            return self._unverified(step, Reason.UNGROUNDED)
        return self._proved(step, VerdictOutcome.VERIFIED, Reason.SUCCEEDED, _execute_truth(step, step.calls), [step])

    def _failed(self, step: Step) -> Verdict:
        """A call that its arguments failed: what went well later, in its place?"""
        good = _went_well(step)
        later = [other for other in self._conversation.after(step) if self._is_success(other)]
        calls: list[ToolCall] = []
        proofs: list[Step] = []
        for call in step.calls:
            if any(_same_call(call, other) for other in good):
                calls.append(call)
                continue
            found = next(((o, c) for o in later for c in o.calls if c.name == call.name and c not in calls), None)
            if found is None:
                return self._served_later(step) or self._unverified(step, Reason.CALL_FAILED)
            proofs.append(found[0])
            calls.append(found[1])
        if all(_same_call(a, b) for a, b in zip(step.calls, calls, strict=True)):
            return self._unverified(step, Reason.RETRY_SUCCEEDED)
        return self._hindsight(step, [*zip(step.calls, calls, strict=True)], proofs, Reason.CORRECTED_CALL)

    def _objected(self, step: Step) -> Verdict | None:
        """What the user's next message says against a success; None: nothing."""
        following = self._conversation.next_turn(step)
        if following is None or (following.created_at - step.trace.acted_at).total_seconds() > self._window_s:
            return None
        before, after = self._conversation.request(step.turn), self._conversation.replies(step.turn + 1)
        if any(objects(reply) for reply in after):
            return self._corrected(step) or self._unverified(step, Reason.USER_OBJECTED)
        is_repeated = any(repeats(before, reply) for reply in after)
        return self._unverified(step, Reason.USER_REPEATED) if is_repeated else None

    def _corrected(self, step: Step) -> Verdict | None:
        """After an objection: the call that the user did want, if it could be known before."""
        later = [other for other in self._conversation.after(step, turns=2) if other.turn > step.turn]
        better = next((other for other in later if self._is_success(other)), None)
        if better is None or not self._is_what_was_objected_to(step, better):
            return None
        if len(step.calls) == len(better.calls) == 1 and step.calls[0].name == better.calls[0].name:
            if _same_call(step.calls[0], better.calls[0]):
                return None
            pairs = [(step.calls[0], better.calls[0])]
            return self._hindsight(step, pairs, [better], Reason.USER_CORRECTED)
        if not self._was_known(step, better.calls):
            return None
        truth = _execute_truth(step, better.calls)
        return self._proved(step, VerdictOutcome.REFUTED, Reason.USER_CORRECTED, truth, [better])

    def _is_what_was_objected_to(self, step: Step, better: Step) -> bool:
        """Of a turn's several calls the user means the one of the same tool, else the last one."""
        wanted = {call.name for call in better.calls}
        executed = [other for other in self._conversation.steps if other.turn == step.turn and other.calls]
        alike = [other for other in executed if not wanted.isdisjoint(call.name for call in other.calls)]
        return step.span.id == (alike or executed)[-1].span.id

    # the other decisions

    def _clarify(self, step: Step) -> Verdict:
        decision = step.span.decision
        assert isinstance(decision, Clarify)
        asked = {(item.tool, item.parameter) for item in decision.missing}
        tools = {tool for tool, _ in asked}
        later = [o for o in self._conversation.after(step) if o.turn > step.turn and self._is_success(o)]
        proof = self._best(o for o in later if not tools or any(call.name in tools for call in o.calls))
        if proof is None and (served := self._served_later(step)):
            return served
        if proof is None:
            return self._unverified(step, Reason.PENDING if self._is_open(step) else Reason.NO_CALL_FOLLOWED)
        calls = [call for call in proof.calls if not tools or call.name in tools]
        request = self._conversation.request(step.turn)
        if not tools and not any(is_said(call.name, request) for call in calls):
            return self._unverified(step, Reason.TRUTH_NOT_KNOWN_THEN)  # "Hello. What can I do for you?" misses nothing
        if self._was_known(step, proof.calls):
            truth = _execute_truth(step, proof.calls)
            return self._proved(step, VerdictOutcome.REFUTED, Reason.VALUE_WAS_GIVEN, truth, [proof])
        missing = self._missing(step, [(None, call) for call in calls], proof)
        if not missing:
            return self._unverified(step, Reason.TRUTH_NOT_KNOWN_THEN)
        truth = _clarify_truth(missing)
        if not asked or asked == set(missing):
            return self._proved(step, VerdictOutcome.VERIFIED, Reason.USER_SUPPLIED_VALUE, truth, [proof])
        beyond = asked - set(missing)
        if any(parameter not in _required(step, tool) for tool, parameter in beyond):
            return self._unverified(step, Reason.ASKED_BEYOND)
        reason = Reason.VALUE_WAS_GIVEN if beyond else Reason.ASKED_TOO_LITTLE
        return self._proved(step, VerdictOutcome.REFUTED, reason, truth, [proof])

    def _refuse(self, step: Step) -> Verdict:
        if served := self._served_later(step):
            return served
        followed = any(
            other.turn > step.turn and self._is_success(other) for other in self._conversation.after(step, turns=2)
        )
        if followed:
            return self._unverified(step, Reason.TRUTH_NOT_KNOWN_THEN)
        return self._unverified(step, Reason.PENDING if self._is_open(step) else Reason.NO_CALL_FOLLOWED)

    def _invalid(self, step: Step) -> Verdict:
        same_turn = self._conversation.after(step, turns=0)
        repair = next((other for other in same_turn if other.span.decision.kind is not DecisionKind.INVALID), None)
        if repair is None:
            return self._served_later(step) or self._unverified(step, Reason.CALL_FAILED)
        judged = self._verdicts[repair.span.id]
        truth = judged.ground_truth
        if truth is None and self._is_success(repair) and self._was_known(step, repair.calls):
            truth = _execute_truth(step, repair.calls)
        if truth is None:
            return self._served_later(step) or self._unverified(step, Reason.TRUTH_NOT_KNOWN_THEN)
        return self._proved(step, VerdictOutcome.REFUTED, Reason.REPAIRED, truth, [repair])

    def _served_later(self, step: Step) -> Verdict | None:
        """The same request, in other words, went well within two turns: what would have been right here?

        None where nothing of the kind happened, or where it can not be told.
        """
        later = [other for other in self._conversation.after(step, turns=2) if other.turn > step.turn]
        proof = self._best(other for other in later if self._is_success(other))
        if proof is None:
            return None
        first = self._conversation.request(step.turn)
        between = range(step.turn + 1, proof.turn + 1)
        if not any(rephrases(first, self._conversation.request(turn)) for turn in between):
            return None
        if self._was_known(step, proof.calls):
            truth = _execute_truth(step, proof.calls)
            return self._proved(step, VerdictOutcome.REFUTED, Reason.REQUEST_WAS_SERVABLE, truth, [proof])
        missing = self._missing(step, [(None, call) for call in proof.calls], proof)
        if not missing:
            return None
        return self._proved(step, VerdictOutcome.REFUTED, Reason.SHOULD_HAVE_ASKED, _clarify_truth(missing), [proof])

    # evidence

    def _hindsight(
        self, step: Step, pairs: Sequence[tuple[ToolCall, ToolCall]], proofs: Sequence[Step], reason: Reason
    ) -> Verdict:
        """The right decision in place of wrong calls, each paired with the one that went well."""
        right = [call for _, call in pairs]
        if self._was_known(step, right):
            return self._proved(step, VerdictOutcome.REFUTED, reason, _execute_truth(step, right), proofs)
        missing = self._missing(step, pairs, proofs[-1])
        if not missing:
            return self._unverified(step, Reason.TRUTH_NOT_KNOWN_THEN)
        return self._proved(step, VerdictOutcome.REFUTED, Reason.GUESSED, _clarify_truth(missing), proofs)

    def _was_known(self, step: Step, calls: Sequence[ToolCall]) -> bool:
        """Whether the calls could have been made at the time: the tools were shown, the values were there."""
        context = step.context()
        schemas = step.schemas
        return bool(calls) and all(
            call.name in schemas and not ungrounded(call.arguments, schemas[call.name], context) for call in calls
        )

    def _missing(self, step: Step, pairs: Sequence[tuple[ToolCall | None, ToolCall]], proof: Step) -> list[Missing]:
        """Required values that were not there at the time and that the user gave by the time of the proof.

        Empty when any value came from elsewhere, or when the wrong call had a value from the context in its place: then
        the user changed their mind, and asking would not have been right.
        """
        context, schemas = step.context(), step.schemas
        supplied = self._conversation.supplied(step, proof)
        missing: list[Missing] = []
        for wrong, right in pairs:
            if right.name not in schemas:
                return []
            schema = schemas[right.name]
            for name in ungrounded(right.arguments, schema, context):
                if ungrounded({name: right.arguments[name]}, schema, supplied):
                    return []
                if name not in _required(step, right.name):
                    continue
                if wrong is not None and _had(wrong, name, schema, context):
                    return []
                missing.append((right.name, name))
        return missing

    def _best(self, successes: Iterable[Step]) -> Step | None:
        """The first verified one; else the first."""
        found = list(successes)
        verified = (s for s in found if self._verdicts[s.span.id].outcome is VerdictOutcome.VERIFIED)
        return next(verified, found[0] if found else None)

    def _is_success(self, step: Step) -> bool:
        """Whether a later decision went well, and nothing said since speaks against it."""
        judged = self._verdicts[step.span.id]
        return (
            step.succeeded
            and judged.outcome is not VerdictOutcome.REFUTED
            and judged.reason not in _NO_PROOF_OF_SUCCESS
        )

    def _is_open(self, step: Step) -> bool:
        """Whether the user may still say something that counts."""
        waited = (self._now - step.trace.acted_at).total_seconds()
        return not self._final and self._conversation.next_turn(step) is None and waited <= self._window_s

    def _proved(
        self,
        step: Step,
        outcome: VerdictOutcome,
        reason: Reason,
        truth: dict[str, Any],
        evidence: Sequence[Step],
    ) -> Verdict:
        return Verdict(
            span_id=step.span.id,
            outcome=outcome,
            reason=reason.value,
            ground_truth=truth,
            evidence=tuple(dict.fromkeys(proof.span.id for proof in evidence)),
            decided_at=self._now,
        )

    def _unverified(self, step: Step, reason: Reason) -> Verdict:
        return Verdict(
            span_id=step.span.id,
            outcome=VerdictOutcome.UNVERIFIED,
            reason=reason.value,
            ground_truth=None,
            decided_at=self._now,
        )


def _required(step: Step, tool: str) -> Sequence[str]:
    required = step.schemas.get(tool, {}).get("required")
    return required if isinstance(required, list | tuple) else ()


def _had(call: ToolCall, name: str, schema: Mapping[str, Any], context: Context) -> bool:
    """Whether the call carried a value from the context under this name."""
    return name in call.arguments and not ungrounded({name: call.arguments[name]}, schema, context)


def _same_call(a: ToolCall, b: ToolCall) -> bool:
    return a.name == b.name and same_json(a.arguments, b.arguments)


def _went_well(step: Step) -> list[ToolCall]:
    return [outcome.call for outcome in step.span.outcomes if outcome.status is CallStatus.OK]


def _has_repeated_call(earlier: Sequence[ToolCall], step: Step) -> bool:
    seen = list(earlier)
    for call in step.calls:
        if any(_same_call(call, other) for other in seen):
            return True
        seen.append(call)
    return False


def _execute_truth(step: Step, calls: Sequence[ToolCall]) -> dict[str, Any]:
    expected = [{"name": call.name, "arguments": _expected_arguments(step, call)} for call in calls]
    return {"decision": "execute", "tool_calls": expected}


def _expected_arguments(step: Step, call: ToolCall) -> dict[str, Any]:
    """A value that is the schema's default may as well be left out; one that looks like the notation is wrapped."""
    schema = step.schemas.get(call.name, {})
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    expected: dict[str, Any] = {}
    for name, value in call.arguments.items():
        declared = properties.get(name)
        is_default = isinstance(declared, Mapping) and "default" in declared and same_json(value, declared["default"])
        if is_default and name not in _required(step, call.name):
            expected[name] = {"any_of": [value], "optional": True}
        else:
            expected[name] = {"any_of": [value]} if isinstance(value, dict) and "any_of" in value else value
    return expected


def _clarify_truth(missing: Sequence[Missing]) -> dict[str, Any]:
    return {"decision": "clarify", "missing": [{"tool": tool, "parameter": parameter} for tool, parameter in missing]}
