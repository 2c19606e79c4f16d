"""A calculator: an arithmetic expression, read as a syntax tree and computed by hand, never by `eval`.

Every step is bounded, so no expression can take long: integers to `MAX_BITS`, the text to `MAX_CHARS`.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tools.builtin.declaration import Builtin
from tools.builtin.rounding import plain_number
from tools.outcome import CallFault, refusal

Number: TypeAlias = int | float

MAX_CHARS = 300
"""Also bounds the depth of the tree."""
MAX_BITS = 2_048
"""Largest integer on the way, about 600 digits."""
MAX_DECIMALS = 15

_CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e}
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "sqrt": math.sqrt,
    "abs": lambda number: abs(number),
    "round": lambda number, decimals=0: _round(number, decimals),
    "floor": math.floor,
    "ceil": math.ceil,
    "min": lambda first, *others: min(first, *others) if others else first,
    "max": lambda first, *others: max(first, *others) if others else first,
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
}
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda base, exponent: _power(base, exponent),
}
_TOKENS = re.compile(r"(?:\s|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])|[a-z]+[0-9]*(?!\w)|[-+*/%(),])*")
"""Numbers, names, operators and brackets: with nothing else in it, Python's parser says nothing of its own."""
_SPELLINGS = str.maketrans({"^": "**", "×": "*", "÷": "/", "−": "-", "–": "-"})


def calculate(expression: str) -> dict[str, Any]:
    return {"value": evaluate(expression)}


def evaluate(expression: str) -> Number:
    """The value: an integer as it is, another number to 12 significant digits.

    Raises: CallFault: the expression cannot be read or computed; the message says why.
    """
    tree = _parse(expression)
    try:
        value = _compute(tree.body)
    except CallFault:
        raise
    except ZeroDivisionError as e:
        raise refusal(f"{expression!r} divides by zero") from e
    except OverflowError as e:
        raise refusal(f"{expression!r} is too large to compute") from e
    except TypeError as e:
        raise refusal(f"{expression!r} gives a function too few or too many values") from e
    except ValueError as e:
        raise refusal(f"{expression!r} cannot be computed: {e}") from e
    return value if isinstance(value, int) else plain_number(value)


def _parse(expression: str) -> ast.Expression:
    if len(expression) > MAX_CHARS:
        raise refusal(f"the expression has {len(expression)} characters, more than {MAX_CHARS}; split it up")
    text = " ".join(expression.translate(_SPELLINGS).lower().split())
    if not _TOKENS.fullmatch(text):
        raise refusal(
            f"{expression!r} is no arithmetic expression; use digits (without thousands separators), "
            f"+ - * / // % ** ( ) and {', '.join(_FUNCTIONS)}"
        )
    try:
        return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as e:
        reason = e.msg if isinstance(e, SyntaxError) else "it is too deeply nested"
        raise refusal(f"{expression!r} is no complete expression: {reason}") from e


def _compute(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value):
            return _bounded(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_compute(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _compute(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _bounded(_OPERATORS[type(op)](_compute(left), _compute(right)))
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*(_compute(argument) for argument in arguments)))
        case ast.Call(func=ast.Name(id=name)) | ast.Name(id=name):
            raise refusal(f"{name!r} is not known; there are: {', '.join((*_FUNCTIONS, *_CONSTANTS))}")
        case ast.Tuple():
            raise refusal("there is a comma outside a function; write 1000, not 1,000")
    raise refusal(f"{ast.unparse(node)!r} is not arithmetic")


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > MAX_BITS:
        if abs(base) > 1:
            raise OverflowError
        return base if exponent % 2 else abs(base)
    return base**exponent


def _round(number: Number, decimals: Number) -> Number:
    if not isinstance(decimals, int) or not 0 <= decimals <= MAX_DECIMALS:
        raise refusal(f"round to between 0 and {MAX_DECIMALS} decimals, not {decimals}")
    return round(number, decimals) if decimals else round(number)


def _bounded(value: Any) -> Number:
    if isinstance(value, complex):
        raise refusal("the root of a negative number is not a real number")
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError
    return value


def arithmetic_tools() -> tuple[Builtin, ...]:
    return (
        Builtin(
            name="calculate",
            description="Compute an arithmetic expression.",
            function=calculate,
            properties={
                "expression": {
                    "type": "string",
                    "description": "Such as 12 * (3 + 4) or sqrt(2)",
                    "minLength": 1,
                    "maxLength": MAX_CHARS,
                }
            },
            required=("expression",),
        ),
    )
