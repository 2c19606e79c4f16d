"""Requests without one of their values."""

import pytest

from tools.wording import without


@pytest.mark.parametrize(
    ("text", "said", "rest"),
    [
        ("weather in Oslo, 3 days", "Oslo", "weather, 3 days"),
        ("Book a flight from London to Paris please", "Paris", "Book a flight from London please"),
        ("the hash 'abc' now", "abc", "the hash now"),
        ('a note called "milk"', "milk", "a note"),
        ("the area of Russia.", "russia", "the area."),
        ("it's 'the end', says Tom", "Tom", "it's 'the end', says"),
    ],
)
def test_a_value_goes_with_its_quotes_and_the_word_that_led_to_it(text: str, said: str, rest: str) -> None:
    assert without(text, said) == rest


@pytest.mark.parametrize(
    ("text", "said"), [("Oslo weather", "Oslo"), ("Oslo to Oslo please", "Oslo"), ("to Oslo please", "Rome")]
)
def test_nothing_is_cut_where_little_would_be_left_or_the_place_is_not_sure(text: str, said: str) -> None:
    assert without(text, said) is None
