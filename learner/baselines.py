"""Policies that ignore the request; one that does not beat them has learnt nothing. Pure."""

from collections.abc import Callable, Mapping

from learner.rows import Row
from runtime.decision import Answer, Clarify, Decision, Execute, MissingParameter, Refuse, ToolCall


def _always_clarify(row: Row) -> Decision:
    """Asks for all that the first tool requires: the best guess that needs no reading."""
    function = row.tools[0]["function"] if row.tools else {"name": "", "parameters": {}}
    required = function.get("parameters", {}).get("required", ())
    missing = tuple(MissingParameter(tool=function["name"], parameter=name) for name in required)
    return Clarify(question="Could you tell me more?", missing=missing)


def _always_refuse(row: Row) -> Decision:
    return Refuse(reason="I cannot do that.")


def _never_call(row: Row) -> Decision:
    return Answer(text="Done.")


def _call_first(row: Row) -> Decision:
    return _calls(row, 1)


def _call_all(row: Row) -> Decision:
    return _calls(row, len(row.tools))


def _calls(row: Row, n: int) -> Decision:
    calls = tuple(ToolCall(name=tool["function"]["name"]) for tool in row.tools[:n])
    return Execute(calls=calls) if calls else Answer(text="Done.")


BASELINES: Mapping[str, Callable[[Row], Decision]] = {
    "always_clarify": _always_clarify,
    "always_refuse": _always_refuse,
    "never_call": _never_call,
    "call_first": _call_first,
    "call_all": _call_all,
}
"""By name."""
