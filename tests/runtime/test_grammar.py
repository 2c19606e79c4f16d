"""The grammar of decisions lets every sound decision through, and nothing that could not be read."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer

from learner.demonstration import demonstrate
from learner.synth.rows import generate_rows
from runtime.decision import CALL_OPEN, Invalid, parse_decision
from runtime.grammar import decision_grammar
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL

RENDERER = Renderer.load(STARTER_MODEL)
TOKENS = from_tokenizer(RENDERER.tokenizer)
EOS = RENDERER.tokenizer.eos_token_id


def tool(name: str = "pay", **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": parameters}}


PAY = tool(
    payee={"type": "string", "description": "who"},
    amount={"type": "number"},
    currency={"enum": ["EUR", "USD"]},
    tags={"type": "array", "items": {"type": "string"}},
)


def grammar(*tools: dict[str, Any]) -> str:
    text = RENDERER.grammar(tools)
    assert text is not None
    return text


def may_write(text: str, *tools: dict[str, Any]) -> bool:
    matcher = LLMatcher(TOKENS, grammar(*tools))
    assert not matcher.is_error(), matcher.get_error()
    tokens = [*RENDERER.tokenizer.encode(text, add_special_tokens=False), EOS]
    return matcher.try_consume_tokens(tokens) == len(tokens)


def call(name: str, **arguments: Any) -> str:
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"{CALL_OPEN}{body}</tool_call>"


def test_a_call_takes_arguments_of_its_schema_only() -> None:
    assert may_write(call("pay", payee="Ann", amount=3.5, currency="EUR", tags=["a", "b"]), PAY)
    assert may_write(call("pay", payee="Ann"), PAY), "what is missing is found by the check before the call"
    assert may_write(call("pay"), PAY)
    assert not may_write(call("pay", payee="Ann", iban="DE"), PAY)
    assert not may_write(call("pay", amount="three"), PAY)
    assert not may_write(call("pay", currency="Euro"), PAY)
    assert not may_write(call("play", payee="Ann"), PAY)


def test_several_calls_may_follow_each_other_but_a_reserved_one_stands_alone() -> None:
    refusal = call("decline", category="unsafe", reason="No.")
    assert may_write(call("pay", payee="A") + call("pay", payee="B"), PAY)
    assert may_write(refusal, PAY)
    assert not may_write(refusal + call("pay", payee="A"), PAY)
    assert not may_write(call("decline", category="tired", reason="No."), PAY)


@pytest.mark.parametrize("others", [True, {}, {"type": "integer"}], ids=str)
def test_a_schema_that_takes_other_arguments_gets_them(others: Any) -> None:
    counted = tool("count", unit={"type": "string"})
    counted["function"]["parameters"]["additionalProperties"] = others
    assert may_write(call("count", unit="crate", apples=3), counted)
    assert may_write(call("count", apples="three"), counted) == (others != {"type": "integer"})


def test_a_question_names_parameters_of_the_shown_tools() -> None:
    def ask(tool: str, parameter: str) -> str:
        return call("ask_user", missing=[{"tool": tool, "parameter": parameter}], question="Which?")

    both = (PAY, tool("find", place={"type": "string"}))
    assert may_write(ask("pay", "payee"), *both)
    assert may_write(ask("find", "place"), *both)
    assert not may_write(ask("find", "payee"), *both)
    assert not may_write(ask("lose", "payee"), *both)


def test_text_is_free_but_holds_no_call() -> None:
    assert may_write('It is <b>12</b>, "so to say"; {x}\nand more.', PAY)
    assert may_write("Done.")
    assert not may_write(f"Well, {call('pay')}", PAY)
    assert not may_write("", PAY)


def test_spaces_and_lines_around_a_call_are_as_other_models_write_them() -> None:
    assert may_write('<tool_call>\n{"name": "pay", "arguments": {"payee": "Ann", "amount": 2}}\n</tool_call>', PAY)
    assert may_write('<tool_call>{"name":"pay","arguments":{"payee":"Ann","amount":2}}</tool_call>', PAY)


@pytest.mark.parametrize(
    "field",
    [
        True,
        {},
        {"type": "object"},
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        {"$ref": "#/$defs/x"},
        {"type": "object", "properties": {"city": {"type": "string"}}},
        {"type": "array"},
        {"enum": [1, "a", None]},
        {"const": 'a "quoted" \\ one'},
        {"type": "string", "pattern": "^(?=x)", "format": "date", "minLength": 3},
    ],
    ids=str,
)
def test_any_schema_of_a_parameter_gives_a_grammar(field: Any) -> None:
    assert may_write(call("odd-näme.x"), tool("odd-näme.x", **{'a "b"': field}))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_every_right_decision_of_generated_rows_may_be_written(seed: int) -> None:
    row = next(generate_rows(seed, "train", 1))
    right = demonstrate(row)
    if right is not None:
        assert may_write(right, *row.tools)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1_000_000))
def test_whatever_is_drawn_under_the_grammar_is_read_as_a_decision(seed: int) -> None:
    """Tokens are drawn at random among those allowed, for a while; whatever came to its end can be read."""
    import random

    rng = random.Random(seed)
    matcher = LLMatcher(TOKENS, grammar(PAY))
    written: list[int] = []
    while not matcher.is_stopped() and len(written) < 150:
        mask = matcher.compute_bitmask()
        allowed = [t for t in range(TOKENS.vocab_size) if mask[t // 8] >> (t % 8) & 1]
        token = EOS if EOS in allowed and rng.random() < 0.3 else rng.choice(allowed)
        matcher.consume_token(token)
        written.append(token)
    if written[-1] == EOS:
        text = RENDERER.decode(written)
        decision = parse_decision(text, ["pay"], after_tool_result=True)
        assert not isinstance(decision, Invalid) or not text.strip(), decision


def test_a_model_whose_marks_are_no_tokens_gets_them_as_text() -> None:
    assert f'open: "{CALL_OPEN}"' in decision_grammar([PAY], is_token=False)


def test_a_renderer_may_leave_decisions_free() -> None:
    assert Renderer(RENDERER.tokenizer, constrained=False).grammar([PAY]) is None
