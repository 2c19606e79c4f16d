"""Which values count as said, and which as made up."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.verify.grounding import is_grounded, same_json, ungrounded
from runtime.verify.mentions import days_in, numbers_in, times_in
from runtime.verify.sources import Context

SATURDAY = date(2026, 5, 2)
TEXT = {"type": "string"}


def said(*texts: str, today: date | None = SATURDAY) -> Context:
    return Context.of([{"role": "user", "content": text} for text in texts], today=today)


def grounded(value: Any, text: str, schema: Any = None, name: str = "value") -> bool:
    return is_grounded(value, schema or {}, said(text), name=name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Oslo", "what's the weather in OSLO?"),
        ("Oslo", "Oslo's weather"),
        ("New York", "flights to new   york, please"),
        ("project-alpha", "the Project Alpha notes"),
        ("Project Alpha", "open project_alpha"),
        ("AB 123", "my code is AB123."),
        ("user@example.com", "write to (user@example.com)!"),
        ("C++", "a course on C++, please"),
        ("MV212", "my order is #MV212."),
        ("C#", "a course on C#"),
        ("Müller", "call Mu\u0308ller"),
        ("O'Brien", "ask O’Brien"),
        ("buy milk", "remind me to buy some milk"),
        ("call the dentist", "add a note: call dentist"),
        ("A", "I got grade A"),
        ("42", "room 42"),
        ("02134", "zip 02134"),
        ("2", "two of them"),
        ("https://a.example/x", "fetch https://a.example/x."),
        ("Rome", "city=Rome,country:Italy"),
    ],
)
def test_a_string_that_was_said_is_grounded(value: str, text: str) -> None:
    assert grounded(value, text, TEXT)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Oslo", "what's the weather?"),
        ("Rome", "a romance novel"),
        ("C#", "a course on C++"),
        ("1.5", "chapter 15"),
        ("1020", "pages 10-20"),
        ("02134", "zip 2134"),
        ("a", "I got grade A"),
        ("buy milk", "buy no milk"),
        ("milk buy", "buy milk"),
        ("buy milk", "buy the blue and green striped shirt then milk"),
        ("", "anything"),
        ("  ", "anything"),
        ("...", "and so on..."),
    ],
)
def test_a_string_that_was_not_said_is_made_up(value: str, text: str) -> None:
    assert not grounded(value, text, TEXT)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1000, "raise it by 1,000"),
        (1000, "a thousand euros"),
        (5000, "about 5k"),
        (2_000_000, "2 million"),
        (2, "a table for two"),
        (25, "twenty-five minutes"),
        (105, "one hundred five"),
        (24, "two dozen eggs"),
        (2.5, "2.5 hours"),
        (2.5, "2.50 hours"),
        (0.5, ".5 litres"),
        (5, "5kg of flour"),
        (-5, "it is -5 outside"),
        (20, "20 % off"),
        (0.2, "20% off"),
        (3.0, "3 apples"),
        (1, "just once"),
        (20, "10-20"),
    ],
)
def test_a_number_that_was_said_is_grounded(value: float, text: str) -> None:
    assert grounded(value, text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4, "a table please"),
        (5, "room B5"),
        (12, "version 1.12.3"),
        (-20, "10-20"),
        (100, "one dollar"),
        (3, "on May 3 at 7pm"),
        (7, "on May 3 at 7pm"),
        (2026, "2026-05-03"),
        (5, "twenty-five"),
        (1, True),
    ],
)
def test_a_number_that_was_not_said_is_made_up(value: float, text: str | bool) -> None:
    assert not grounded(value, str(text))


def test_parts_of_a_date_are_numbers_for_parameters_named_so() -> None:
    assert grounded(3, "on May 3", name="day")
    assert grounded(2026, "on 2026-05-03", name="start_year")
    assert not grounded(3, "on May 3", name="guests")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-05-03", "on 2026-05-03"),
        ("2026-05-03", "on May 3rd"),
        ("2026-05-03", "on the 3rd of May 2026"),
        ("2026-05-03", "3 May"),
        ("2027-05-01", "May 1"),
        ("2026-05-31", "31/05/2026"),
        ("2026-05-31", "5/31/2026"),
        ("2026-05-03", "tomorrow"),
        ("2026-05-04", "the day after tomorrow"),
        ("2026-05-01", "yesterday"),
        ("2026-05-16", "in two weeks"),
        ("2026-05-08", "on Friday"),
        ("2026-05-04", "next Monday"),
        ("15:00", "at 3pm"),
        ("15:30", "at 3:30 p.m."),
        ("00:00", "at midnight"),
        ("2026-05-03T15:00", "tomorrow at 3 pm"),
        ("2026-05-03 15:00:00", "tomorrow at 15:00"),
        ("2026-05-03T00:00:00", "tomorrow"),
    ],
)
def test_a_day_or_time_that_was_said_is_grounded(value: str, text: str) -> None:
    assert grounded(value, text, TEXT)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-05-03", "sometime"),
        ("2026-05-03", "on May 4"),
        ("2025-05-03", "on May 3"),
        ("2026-05-03", "03/05/2026"),
        ("2026-05-02", "tomorrow"),
        ("2026-05-02", "on Saturday"),
        ("2026-02-30", "February 30 2026"),
        ("15:00", "at 3"),
        ("03:00", "at 3pm"),
        ("2026-05-03T15:00", "tomorrow"),
        ("2026-05-03T00:00", "tomorrow at 3pm"),
        ("2026-05-03T15:00Z", "tomorrow at 3pm"),
        ("2026-05-0315:00", "tomorrow at 3pm"),
    ],
)
def test_a_day_or_time_that_was_not_said_is_made_up(value: str, text: str) -> None:
    assert not grounded(value, text, TEXT)


def test_next_monday_is_no_day_when_it_has_two_readings() -> None:
    sunday = date(2026, 5, 3)
    wednesday = date(2026, 5, 6)
    assert days_in("next monday").resolve(sunday) == {date(2026, 5, 4)}
    assert days_in("next friday").resolve(wednesday) == frozenset()
    assert days_in("friday").resolve(wednesday) == {date(2026, 5, 8)}


def test_tomorrow_is_counted_from_the_day_that_the_operator_names() -> None:
    messages = [{"role": "system", "content": "Today is 2030-01-01."}, {"role": "user", "content": "tomorrow"}]
    context = Context.of(messages, today=SATURDAY)
    assert is_grounded("2030-01-02", TEXT, context)
    assert not is_grounded("2026-05-03", TEXT, context)


def test_without_a_today_only_full_dates_count() -> None:
    context = said("tomorrow or May 3 or 2026-05-09", today=None)
    assert is_grounded("2026-05-09", TEXT, context)
    assert not is_grounded("2026-05-03", TEXT, context)


PRIORITY = {"type": "string", "enum": ["priority_high", "priority_low", "none"]}


@pytest.mark.parametrize(
    ("value", "text", "is_so"),
    [
        ("priority_high", "priority_high", True),
        ("priority_high", "make it high", True),
        ("priority_high", "the highest one", True),
        ("priority_low", "make it high", False),
        ("priority_high", "give it a priority", False),
        ("priority_high", "not high", False),
    ],
)
def test_a_member_of_an_enum_is_known_by_the_words_of_its_own(value: str, text: str, is_so: bool) -> None:
    assert grounded(value, text, PRIORITY) is is_so


@pytest.mark.parametrize(
    ("value", "text", "is_so"),
    [
        (True, "make it urgent", True),
        (True, "it's urgently needed", True),
        (False, "make it urgent", False),
        (False, "it is not urgent", True),
        (True, "it is not urgent", False),
        (False, "urgent: no", True),
        (True, "urgent: false", False),
        (False, "urgent off", True),
        (True, "make it so", False),
        (False, "make it so", False),
    ],
)
def test_a_boolean_is_known_by_its_parameters_name(value: bool, text: str, is_so: bool) -> None:
    assert grounded(value, text, {"type": "boolean"}, name="is_urgent") is is_so


def test_a_plain_yes_takes_over_the_question_and_a_no_denies_it() -> None:
    def after(question: str, reply: str) -> Context:
        return Context.of([{"role": "assistant", "content": question}, {"role": "user", "content": reply}])

    assert is_grounded("Oslo", TEXT, after("Do you mean Oslo?", "Yes please"))
    assert not is_grounded("Oslo", TEXT, after("Do you mean Oslo?", "Hm"))
    assert not is_grounded("Oslo", TEXT, after("Do you mean Oslo?", "No"))
    flag = {"type": "boolean"}
    assert is_grounded(True, flag, after("Is it urgent?", "yes"), name="urgent")
    assert is_grounded(False, flag, after("Is it urgent?", "no"), name="urgent")


def test_what_the_assistant_wrote_is_no_source() -> None:
    call = {"function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
    messages = [{"role": "assistant", "content": "Oslo it is.", "tool_calls": [call]}]
    assert not is_grounded("Oslo", TEXT, Context.of(messages))


def test_what_a_tool_returned_is_a_source_value_by_value() -> None:
    result = json.dumps({"contacts": [{"id": 417, "name": "Zoë Ray"}], "ok": True})
    context = Context.of([{"role": "tool", "content": result}, {"role": "tool", "content": "plain: 12 items"}])
    assert is_grounded(417, {}, context)
    assert is_grounded("Zoë Ray", TEXT, context)
    assert is_grounded(12, {}, context)
    assert not is_grounded("Ray ok", TEXT, context)


def test_what_the_schema_gives_needs_no_source() -> None:
    context = said("hello")
    assert is_grounded("metric", {"type": "string", "default": "metric"}, context)
    assert is_grounded(1, {"const": 1}, context)
    assert is_grounded("only", {"enum": ["only"]}, context)
    assert is_grounded(None, {"type": ["string", "null"]}, context)
    assert is_grounded([], {"type": "array", "default": []}, context)
    assert not is_grounded("imperial", {"type": "string", "default": "metric"}, context)
    assert not is_grounded(True, {"default": 1}, context)
    assert not is_grounded(None, {"type": "string"}, context)


def test_a_list_or_object_is_grounded_when_all_in_it_is() -> None:
    items = {"type": "array", "items": {"type": "string"}}
    assert grounded(["milk", "eggs"], "buy milk, eggs and bread", items)
    assert not grounded(["milk", "beer"], "buy milk, eggs and bread", items)
    assert not grounded([], "buy milk", items)
    guest = {"type": "object", "properties": {"vip": {"default": False}}}
    assert grounded({"name": "Ann", "vip": False}, "invite Ann", guest)
    assert not grounded({"name": "Ann", "vip": True}, "invite Ann", guest)
    assert not grounded({}, "invite Ann", guest)


def test_references_and_alternatives_of_a_schema_are_followed() -> None:
    root = {
        "$defs": {"unit": {"enum": ["c", "f"], "default": "c"}},
        "properties": {"unit": {"$ref": "#/$defs/unit"}, "n": {"anyOf": [{"type": "null"}, {"default": 3}]}},
    }
    assert ungrounded({"unit": "c", "n": 3}, root, said("hello")) == ()
    assert ungrounded({"unit": "f", "n": 4, "x": 1}, root, said("hello")) == ("unit", "n", "x")
    endless = {"properties": {"x": {"$ref": "#/properties/x"}}}
    assert ungrounded({"x": 1}, endless, said("one")) == ()


def test_message_parts_are_read_as_text() -> None:
    parts = [{"type": "text", "text": "weather in"}, {"type": "text", "text": "Oslo"}, {"type": "image_url"}]
    assert is_grounded("Oslo", TEXT, Context.of([{"role": "user", "content": parts}]))


WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=8)
FILLER = st.sampled_from(["", "please", "look up", "and then", "for"])


@given(words=st.lists(WORD, min_size=1, max_size=4), before=FILLER, after=FILLER, mark=st.sampled_from(".,!?)"))
def test_any_words_that_were_said_are_grounded(words: list[str], before: str, after: str, mark: str) -> None:
    value = " ".join(words)
    assert grounded(value.title(), f"{before} {value}{mark} {after}", TEXT)


@given(
    words=st.lists(st.text("abc", min_size=2, max_size=6), min_size=1, max_size=4), text=st.text("xyz 0", max_size=60)
)
def test_no_words_that_were_not_said_are_grounded(words: list[str], text: str) -> None:
    assert not grounded(" ".join(words), text, TEXT)


@given(number=st.integers() | st.floats(allow_nan=False, allow_infinity=False), before=FILLER, after=FILLER)
def test_any_number_that_was_said_is_grounded(number: float, before: str, after: str) -> None:
    assert grounded(number, f"{before} {number} {after}")


@given(number=st.integers(0, 10**12))
def test_a_number_with_thousands_marks_is_the_same_number(number: int) -> None:
    assert number in numbers_in(f"about {number:,} of them")


@given(number=st.integers(10, 10**6), other=st.integers(10, 10**6))
def test_only_the_number_that_was_said_is_grounded(number: int, other: int) -> None:
    assert grounded(other, f"take {number} of them") is (number == other)


DAYS = st.dates(date(1900, 1, 1), date(2199, 12, 31))
FORMATS = st.sampled_from(["%Y-%m-%d", "%B %d, %Y", "%d %B %Y", "%d %b %Y", "%b %d %Y", "%dth of %B %Y", "%Y/%m/%d"])


@given(day=DAYS, form=FORMATS)
def test_a_day_reads_the_same_however_it_is_written(day: date, form: str) -> None:
    assert days_in(f"on {day.strftime(form)} please").full == {day}


@given(first=DAYS, second=DAYS, form=FORMATS)
def test_only_the_day_that_was_said_is_grounded(first: date, second: date, form: str) -> None:
    assert grounded(second.isoformat(), f"on {first.strftime(form)}", TEXT) is (first == second)


@given(hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_time_reads_the_same_on_either_clock(hour: int, minute: int) -> None:
    half = f"{(hour - 1) % 12 + 1}:{minute:02d}{'am' if hour < 12 else 'pm'}"
    assert times_in(f"at {hour:02d}:{minute:02d}") == times_in(f"at {half}") == {(hour, minute)}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYWORDS = st.sampled_from(["type", "enum", "default", "const", "anyOf", "allOf", "$ref", "items", "properties"])
SCHEMAS = st.dictionaries(KEYWORDS, JSON | st.dictionaries(KEYWORDS, JSON, max_size=2), max_size=4)


@given(value=JSON, schema=SCHEMAS | JSON, text=st.text(max_size=40), name=st.text(max_size=8))
def test_no_value_schema_or_text_breaks_it(value: Any, schema: Any, text: str, name: str) -> None:
    messages = [{"role": role, "content": text} for role in ("system", "user", "tool", "assistant", "user")]
    context = Context.of(messages, today=SATURDAY)
    assert is_grounded(value, schema, context, name=name) in (True, False)
    if isinstance(schema, dict):
        assert set(ungrounded({name: value}, schema, context)) <= {name}


@given(value=JSON)
def test_json_equality_knows_truth_from_one(value: Any) -> None:
    text = json.dumps(value)
    if "NaN" not in text:
        assert same_json(value, json.loads(text))
    assert not same_json(True, 1)
    assert not same_json([0], [False])
    assert same_json({"a": 1}, {"a": 1.0})
