"""The verified decision, written out, is what the reward calls right."""

from typing import Any

import pytest

from learner.demonstration import demonstrate
from learner.rewards import score_text
from learner.synth.rows import generate_rows
from tests.learner.case_rows import row

CALL = {"name": "weather", "arguments": {"days": {"any_of": [2, 3]}, "city": "Oslo"}}


def test_the_demonstration_of_any_generated_row_earns_the_full_reward() -> None:
    kinds = set()
    for generated in generate_rows(3, "train", 400):
        text = demonstrate(generated)
        assert text is not None
        assert score_text(text, generated).exact, (text, generated.truth)
        kinds.add(generated.truth.decision)
    assert kinds == {"execute", "clarify", "refuse", "answer"}


def test_arguments_stand_in_the_order_of_the_schema_with_an_accepted_value() -> None:
    text = demonstrate(row("a", decision="execute", tool_calls=[CALL]))
    assert text == '<tool_call>{"name":"weather","arguments":{"city":"Oslo","days":2}}</tool_call>'


def test_a_refusal_for_harm_says_so() -> None:
    text = demonstrate(row("a", decision="refuse", category="unsafe"))
    assert text is not None
    assert '"unsafe"' in text


@pytest.mark.parametrize("truth", [{"decision": "clarify"}, {"decision": "answer"}, {"decision": "execute"}])
def test_a_truth_that_does_not_say_enough_gives_none(truth: dict[str, Any]) -> None:
    assert demonstrate(row("a", **truth)) is None


def test_a_refusal_by_a_rule_of_the_house_says_that_it_is_not_permitted() -> None:
    text = demonstrate(row("a", decision="refuse", category="not_permitted"))
    assert text is not None
    assert "not_permitted" in text
    assert "I am not permitted to do that." in text
