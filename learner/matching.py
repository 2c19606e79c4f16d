"""When an argument value is the expected one, by JSON-schema type.

- number and integer: equal as numbers, so 3 and 3.0 are the same; a boolean or a string is not a number.
- string: equal after Unicode NFKC and with runs of white space as one blank. Case is ignored only where it cannot
  carry meaning: the schema has no enum, const, format or pattern, and the expected text is words (letters, blanks, and
  the marks of ordinary writing). Identifiers, addresses and codes compare with their case.
- array: element by element, in order; without order when the schema says `uniqueItems`.
- object: key by key, nothing added or left out.
- An expected value may be {"any_of": [...], "optional": bool}, at any depth: one of these will do.

Leaving out an argument is the same as giving the default that its schema names.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

UNSET: Final = object()
"""Stands for no value where None would be one."""

_WORDS = re.compile(r"[^\W\d_]+(?:[ ,.;:!?'’\"()-]+[^\W\d_]+)*[.!?]?")
_EXACT_TEXT = ("enum", "const", "format", "pattern")


def unwrap(expected: Any) -> tuple[Sequence[Any], bool]:
    """The acceptable values and whether the argument may be left out."""
    if isinstance(expected, Mapping) and "any_of" in expected and set(expected) <= {"any_of", "optional"}:
        return expected["any_of"], expected.get("optional") is True
    return (expected,), False


def same(expected: Any, given: Any, schema: Any) -> bool:
    """Whether `given` is one of the expected values; False when nothing is expected (UNSET)."""
    values, _ = unwrap(expected)
    return any(_same_value(value, given, schema if isinstance(schema, Mapping) else {}) for value in values)


def _same_value(expected: Any, given: Any, schema: Mapping[str, Any]) -> bool:
    if expected is UNSET:
        return False
    if isinstance(expected, bool) or isinstance(given, bool) or expected is None or given is None:
        return expected is given
    if isinstance(expected, int | float):
        return isinstance(given, int | float) and _same_number(expected, given)
    if isinstance(expected, str):
        return isinstance(given, str) and _same_text(expected, given, schema)
    if isinstance(expected, list | tuple):
        return isinstance(given, list | tuple) and _same_array(expected, given, schema)
    if isinstance(expected, Mapping):
        return isinstance(given, Mapping) and _same_object(expected, given, schema)
    return False


def _same_number(expected: float, given: float) -> bool:
    if isinstance(expected, int) and isinstance(given, int):
        return expected == given
    try:
        return math.isclose(expected, given, rel_tol=1e-9, abs_tol=1e-12)
    except OverflowError:  # an integer beyond the floats
        return False


def _same_text(expected: str, given: str, schema: Mapping[str, Any]) -> bool:
    a, b = (" ".join(unicodedata.normalize("NFKC", text).split()) for text in (expected, given))
    if a == b:
        return True
    case_matters = any(key in schema for key in _EXACT_TEXT) or not _WORDS.fullmatch(a)
    return not case_matters and a.casefold() == b.casefold()


def _same_array(expected: Sequence[Any], given: Sequence[Any], schema: Mapping[str, Any]) -> bool:
    if len(expected) != len(given):
        return False
    items = schema.get("items", {})
    if schema.get("uniqueItems") is not True:
        return all(same(a, b, items) for a, b in zip(expected, given, strict=True))
    rest = list(given)
    for value in expected:
        found = next((i for i, other in enumerate(rest) if same(value, other, items)), None)
        if found is None:
            return False
        del rest[found]
    return True


def _same_object(expected: Mapping[str, Any], given: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    properties = schema.get("properties", {})
    for name in {*expected, *given}:
        if name not in given:
            if not unwrap(expected[name])[1]:
                return False
        elif name not in expected or not same(expected[name], given[name], properties.get(name, {})):
            return False
    return True
