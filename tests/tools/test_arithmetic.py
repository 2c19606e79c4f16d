import ast
import math
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.builtin.arithmetic import MAX_BITS, calculate, evaluate
from tools.outcome import CallFault


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 2 * 3", 8),
        ("2 ^ 10", 1024),
        ("2 * 3 ^ 2", 18),
        ("-2 ** 2", -4),
        ("0.1 + 0.2", 0.3),
        ("7 // 2", 3),
        ("-5 % 3", 1),
        ("1e3 / 4", 250),
        (".5 × 4 ÷ 2", 1),
        ("sqrt(16) + abs(-2)", 6),
        ("round(2.567, 2)", 2.57),
        ("MAX(1, 2, 3) - min(4)", -1),
        ("2 * pi", 6.28318530718),
        ("log10(1000)", 3),
        ("(-1) ** 99999999999", -1),
        ("0 ** 5", 0),
        ("1" * 300, int("1" * 300)),
    ],
)
def test_an_expression_has_its_value(expression: str, value: float) -> None:
    assert calculate(expression) == {"value": value}


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("1 / 0", "divides by zero"),
        ("9 ** 9 ** 9 ** 9", "too large"),
        ("exp(1000)", "too large"),
        ("1e400", "too large"),
        ("2 ** 2047 * 8", "too large"),
        ("(-8) ** 0.5", "root of a negative number"),
        ("sqrt(-1)", "cannot be computed"),
        ("1,000 + 2", "write 1000, not 1,000"),
        ("2 + ", "no complete expression"),
        ("(1 + 2", "no complete expression"),
        ("", "no complete expression"),
        ("two + 2", "'two' is not known"),
        ("gamma(5)", "'gamma' is not known"),
        ("sqrt()", "too few or too many"),
        ("round(1.5, 99)", "between 0 and 15"),
        ("2pi", "no arithmetic expression"),
        ("3 (4)", "is not arithmetic"),
        ("1 if 2 else 3", "is not arithmetic"),
        ("1" * 301, "more than 300"),
        ("__import__('os')", "no arithmetic expression"),
        ("(1).real", "no arithmetic expression"),
        ("lambda: 1", "no arithmetic expression"),
        ("[1 for x in max]", "no arithmetic expression"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_words(expression: str, told: str) -> None:
    with pytest.raises(CallFault, match=r"^(?s:.)*" + told.replace("(", r"\(")):
        evaluate(expression)


@settings(deadline=None)
@given(st.text(max_size=400) | st.text("0123456789.+-*/%()^e, sqrtpimax", max_size=300))
def test_any_text_gives_a_finite_number_or_a_refusal(text: str) -> None:
    try:
        value = evaluate(text)
    except CallFault:
        return
    assert isinstance(value, int | float)
    assert not isinstance(value, bool)
    assert math.isfinite(value) if isinstance(value, float) else value.bit_length() <= MAX_BITS


_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv}
_leaves = st.integers(0, 999).map(str)
_expressions = st.recursive(
    _leaves,
    lambda inner: st.tuples(inner, st.sampled_from(list(_OPERATORS)), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=12,
)


def _reference(node: ast.expr) -> int:
    """Python's integers, by hand."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    assert isinstance(node, ast.BinOp)
    symbol = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//"}[type(node.op)]
    return _OPERATORS[symbol](_reference(node.left), _reference(node.right))


@settings(deadline=None)
@given(_expressions)
def test_integer_arithmetic_is_exact(expression: str) -> None:
    try:
        expected = _reference(ast.parse(expression, mode="eval").body)
    except ZeroDivisionError:
        with pytest.raises(CallFault, match="divides by zero"):
            evaluate(expression)
    else:
        assert evaluate(expression) == expected
