"""What must hold after a call for its work to count as done, by more than the tool's own word. Pure.

The check is an expression in CEL (https://cel.dev) over `arguments`, `result` (the tool's answer, as data where it is
JSON) and `read`, what another tool reads afterwards:

    {"read": {"tool": "get_order", "arguments": {"id": "result.id"}}, "holds": "read.quantity == arguments.quantity"}

An expression has one comprehension at most, so that no check takes longer than its data is long.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import cel

from tools.spec import Postcondition, ToolSpec

_COMPREHENSION = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*(\w+)?")
_ARGUMENT = re.compile(r"(?<![\w.])arguments\.(\w+)")
_NAMES = frozenset({"arguments", "result", "read"})


class Unconfirmed(Exception):
    """The check did not hold, or could not be made; the message says which."""


def postcondition_problem(spec: ToolSpec) -> str | None:
    """What is wrong with a tool's check, with its JSON path; None: nothing."""
    check = spec.postcondition
    if check is None:
        return None
    expressions = {"$.postcondition.holds": (check.holds, _NAMES if check.read is not None else _NAMES - {"read"})}
    if check.read is not None:
        for name, text in check.read.arguments.items():
            expressions[f"$.postcondition.read.arguments.{name}"] = (text, _NAMES - {"read"})
    known = spec.parameters.get("properties", {})
    for path, (text, names) in expressions.items():
        problem = _problem(text, names, known)
        if problem is not None:
            return f"{path}: {problem}"
    return None


def read_arguments(check: Postcondition, arguments: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """The arguments of the call that reads afterwards. Raises: Unconfirmed."""
    assert check.read is not None
    given = {"arguments": dict(arguments), "result": _data(answer)}
    return {name: _value(text, given) for name, text in check.read.arguments.items()}


def confirm(check: Postcondition, arguments: Mapping[str, Any], answer: str, read: str | None = None) -> None:
    """
    Args:
        answer: of the tool.
        read: the answer of the tool that reads afterwards.

    Raises: Unconfirmed.
    """
    given = {"arguments": dict(arguments), "result": _data(answer)}
    if read is not None:
        given["read"] = _data(read)
    held = _value(check.holds, given)
    if held is not True:
        raise Unconfirmed(f"{check.holds} is {json.dumps(held, default=str)}, not true")


def _problem(text: str, names: frozenset[str], known: Mapping[str, Any]) -> str | None:
    try:
        program = _compiled(text)
    except ValueError as e:
        return str(e)
    loops = _COMPREHENSION.findall(text)
    if len(loops) > 1:
        return "has more than one of all, exists, exists_one, map, filter; one is the limit"
    strangers = sorted(set(program.variables()) - names - set(loops))
    if strangers:
        return f"{strangers[0]} is not known here; there are: {', '.join(sorted(names))}"
    missing = sorted(set(_ARGUMENT.findall(text)) - set(known))
    if missing:
        return f"the tool has no argument {missing[0]!r}; there are: {', '.join(known) or 'none'}"
    try:
        program.execute({name: {} for name in _NAMES})
    except RuntimeError as e:
        return str(e) if "Undefined" in str(e) else None
    except Exception:
        return None
    return None


def _value(text: str, given: Mapping[str, Any]) -> Any:
    try:
        return _compiled(text).execute(dict(given))
    except KeyError as e:
        raise Unconfirmed(f"{text}: there is no {e}") from e
    except Exception as e:  # the library has no class of its own for what goes wrong
        raise Unconfirmed(f"{text}: {e}") from e


def _data(answer: str) -> Any:
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return answer


@lru_cache(maxsize=512)
def _compiled(text: str) -> Any:
    try:
        return cel.compile(text)
    except ValueError as e:
        first = str(e).splitlines()[0].removeprefix("Failed to parse expression ")
        raise ValueError(f"{first} (CEL: https://cel.dev)") from e
