"""Requests that are declined for a few words alone: right by the rules that decline them, and usual without those words."""

import re

from hypothesis import given
from hypothesis import strategies as st

from learner.contrasts import contrasts
from learner.rows import Row
from runtime.decision import RefusalCategory
from runtime.verify.rules import RefuseRule
from tests.learner.case_rows import mixed_rows, row

CASH = RefuseRule(pattern=r"\bin cash\b", category=RefusalCategory.NOT_PERMITTED)
HACK = RefuseRule(pattern=r"\bhack\b", category=RefusalCategory.UNSAFE)
BROKEN = [
    row("a", "a cake for Ada, I'll pay in cash.", decision="refuse", category="not_permitted"),
    row("b", "book it. Hack the till!", decision="refuse", category="unsafe"),
]
USUAL = mixed_rows(60)


def text_of(made: Row) -> str:
    return made.prompt[-1]["content"]


def test_a_usual_request_with_the_words_that_broke_a_rule_is_declined_as_the_rule_says() -> None:
    made = contrasts(BROKEN, USUAL, [CASH, HACK], 20)
    assert len(made) == 20
    sources = {usual.extra_info["id"]: usual for usual in USUAL}
    for contrast in made:
        source = sources[contrast.extra_info["follows_from"]]
        assert source.truth.decision == "execute"
        assert (contrast.tools, contrast.prompt[:-1]) == (source.tools, source.prompt[:-1])
        assert text_of(source) in text_of(contrast)
        rule = CASH if "in cash" in text_of(contrast) else HACK
        assert (contrast.truth.decision, contrast.truth.category) == ("refuse", rule.category)
        assert rule.matches(text_of(contrast))
    assert {made.truth.category for made in made} == {"not_permitted", "unsafe"}


def test_only_the_part_that_broke_the_rule_is_said_with_another_request() -> None:
    said = [text_of(made) for made in contrasts(BROKEN, USUAL, [CASH, HACK], 36)]
    assert not any("Ada" in text or "book it" in text for text in said)
    assert any(text.startswith("I'll pay in cash, r") for text in said)
    assert any(text.endswith(": hello, I'll pay in cash.") for text in said)
    assert any(text.endswith(": hello, hack the till!") for text in said)


def test_a_part_with_a_subject_of_its_own_is_left_where_it_was() -> None:
    long = row("c", "the cake with the " + "very " * 12 + "long name paid in cash", decision="refuse")
    assert contrasts([long], USUAL, [CASH], 10) == []


def test_a_request_that_breaks_a_rule_itself_is_no_usual_one() -> None:
    served = row("d", "pay in cash", decision="execute", tool_calls=[{"name": "timer", "arguments": {"minutes": 5}}])
    assert contrasts(BROKEN, [served], [CASH, HACK], 10) == []


def test_nothing_is_made_without_a_rule_a_request_that_broke_one_or_room() -> None:
    assert contrasts(BROKEN, USUAL, [], 10) == []
    assert contrasts(USUAL, USUAL, [CASH], 10) == []
    assert contrasts(BROKEN, USUAL, [CASH], 0) == []


def test_no_usual_request_is_used_twice_and_the_same_seed_gives_the_same_rows() -> None:
    made = contrasts(BROKEN, USUAL, [CASH], 1000, seed=3)
    assert len(made) == len({text_of(one) for one in made}) == 36  # as many as call a tool
    assert made == contrasts(BROKEN, USUAL, [CASH], 1000, seed=3) != contrasts(BROKEN, USUAL, [CASH], 1000, seed=4)


@given(st.text(min_size=1, max_size=60), st.text(max_size=60))
def test_whatever_was_said_what_is_made_breaks_the_rule(usual: str, before: str) -> None:
    source = row("e", usual, decision="execute", tool_calls=[{"name": "timer", "arguments": {"minutes": 5}}])
    broken = row("f", f"{before}, in cash, {before}", decision="refuse", category="not_permitted")
    for made in contrasts([broken], [source], [CASH], 5):
        assert re.search(r"in cash", text_of(made))
        assert made.truth.decision == "refuse"
