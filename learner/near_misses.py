"""Near misses: the right tools, called as often as wanted, with an argument that is not the expected one. Pure.

They say what to mend first: a value in the wrong type or spelling is understood already, a left-out or made-up one is not.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from learner.labels import fit_value
from learner.matching import UNSET, same, unwrap
from learner.rewards import WrongArgument


class MissKind(StrEnum):
    TYPE = "type"
    """Right but for its JSON type: "2" where 2 is wanted."""
    SPELLING = "spelling"
    """Right but for case, blanks and punctuation."""
    PART = "part"
    """Text that holds the expected one, or is held by it."""
    LEFT_OUT = "left_out"
    ADDED = "added"
    """An argument that should have been left out."""
    VALUE = "value"
    """Another value."""


class NearMiss(BaseModel):
    model_config = ConfigDict(frozen=True)

    tool: str
    argument: str
    kind: MissKind
    expected: Any = None
    given: Any = None


def near_misses(wrong: Sequence[WrongArgument], tools: Sequence[Mapping[str, Any]]) -> tuple[NearMiss, ...]:
    schemas = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in tools}
    return tuple(_near(part, schemas.get(part.tool, {}).get("properties", {}).get(part.argument, {})) for part in wrong)


def _near(wrong: WrongArgument, schema: Any) -> NearMiss:
    shown = {"expected": wrong.expected, "given": wrong.given}
    return NearMiss(
        tool=wrong.tool,
        argument=wrong.argument,
        kind=_kind(wrong, schema),
        **{name: None if value is UNSET else value for name, value in shown.items()},
    )


def _kind(wrong: WrongArgument, schema: Any) -> MissKind:
    if wrong.given is UNSET:
        return MissKind.LEFT_OUT
    if wrong.expected is UNSET or not unwrap(wrong.expected)[0]:
        return MissKind.ADDED
    if same(wrong.expected, fit_value(wrong.given, schema), schema):
        return MissKind.TYPE
    given = _letters(wrong.given)
    for value in unwrap(wrong.expected)[0]:
        expected = _letters(value)
        if given == expected:
            return MissKind.SPELLING
        if given and expected and isinstance(value, str) and (given in expected or expected in given):
            return MissKind.PART
    return MissKind.VALUE


def _letters(value: Any) -> str:
    return "".join(c for c in str(value).casefold() if c.isalnum())
