"""Rows that follow from a verified one: each is right by its own truth, and of a class that the source was not."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.demonstration import demonstrate
from learner.rewards import score_text
from learner.rows import Row
from learner.synth.rows import generate_rows
from learner.variants import Pool, for_each, is_plain, other_values, variants
from tests.learner.case_rows import NOTES, TIMER, WEATHER, row, tool

OSLO: dict[str, Any] = {
    "decision": "execute",
    "tool_calls": [{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}],
}
MILK: dict[str, Any] = {"decision": "execute", "tool_calls": [{"name": "notes", "arguments": {"text": "milk"}}]}
ROWS = (
    row("a", "weather in Oslo, 3 days", tools=(WEATHER, TIMER), **OSLO),
    row("b", "remember milk please", tools=(NOTES,), **MILK),
)


def made(kind: str, rows: tuple[Row, ...] = ROWS) -> list[Row]:
    return [v for v in variants(rows, 100) if v.extra_info["variant"] == kind]


def test_where_its_tool_is_not_at_hand_a_request_is_refused() -> None:
    for variant in made("absent"):
        assert variant.truth.decision == "refuse"
        source = next(r for r in ROWS if r.extra_info["id"] == variant.extra_info["follows_from"])
        assert variant.prompt == source.prompt
        assert {c.name for c in source.truth.tool_calls}.isdisjoint(t["function"]["name"] for t in variant.tools)


def test_a_required_value_that_was_cut_out_is_asked_for() -> None:
    texts = {v.extra_info["follows_from"]: (v.prompt[-1]["content"], v.truth.missing) for v in made("lacking")}
    assert texts["a"] == ("a: weather, 3 days", ({"tool": "weather", "parameter": "city"},))
    assert texts["b"] == ("b: remember please", ({"tool": "notes", "parameter": "text"},))


def test_another_value_in_the_request_is_another_value_in_the_call() -> None:
    (variant,) = [v for v in made("other values") if v.extra_info["follows_from"] == "a"]
    arguments = variant.truth.tool_calls[0].arguments
    assert arguments != {"city": "Oslo", "days": 3}
    assert all(str(value) in variant.prompt[-1]["content"] for value in arguments.values())


def test_a_value_that_two_calls_share_is_another_one_in_both() -> None:
    calls = [{"name": n, "arguments": {"city": "Oslo", "days": d}} for n, d in (("weather", 3), ("timer", 14))]
    source = row("c", "weather in Oslo, 3 days, then 14", tools=(WEATHER, TIMER), decision="execute", tool_calls=calls)
    (variant,) = [v for v in made("other values", (source, *ROWS)) if v.extra_info["follows_from"] == "c"]
    first, second = variant.truth.tool_calls
    assert first.arguments["city"] == second.arguments["city"]
    said = variant.prompt[-1]["content"]
    assert all(str(value) in said for call in (first, second) for value in call.arguments.values())


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("3 nights for 3 guests", {"city": "guests", "days": 3}),
        ("signing of the Treaty of Lisbon", {"city": "Treaty of Lisbon", "days": 1, "event": "Lisbon"}),
        ("report for 4 days", {"days": 4, "detail": 4}),
    ],
)
def test_a_value_that_is_also_another_one_or_a_part_of_it_stays(text: str, arguments: dict[str, Any]) -> None:
    call = {"name": "weather", "arguments": arguments}
    source = row("c", text, tools=(WEATHER, TIMER), decision="execute", tool_calls=[call])
    for variant in made("other values", (source, *ROWS)):
        if variant.extra_info["follows_from"] == "c":
            assert variant.truth.tool_calls[0].arguments["days"] == arguments["days"]
            assert variant.truth.tool_calls[0].arguments.get("event") == arguments.get("event")
            assert "Treaty of Lisbon" in variant.prompt[-1]["content"] or "event" not in arguments


def test_a_text_gives_way_to_one_of_its_kind_most_often_and_never_to_an_option() -> None:
    places = ("Oslo", "Rome", "Lima", "Kyiv", "Baku")
    trip = tool("trip", ["to_city"], to_city={"type": "string"}, style={"type": "string", "enum": ["lavish", "frugal"]})
    book = tool("book", ["title"], title={"type": "string"})
    rows = [
        *(
            row(f"t{at}", f"to {place}, lavish", tools=(trip,), **called("trip", to_city=place, style="lavish"))
            for at, place in enumerate(places)
        ),
        *(
            row(f"b{at}", f"read {title}", tools=(book,), **called("book", title=title))
            for at, title in enumerate(("Emma", "Ulysses", "Dune", "Beloved"))
        ),
    ]
    pool = Pool.of(rows)
    made = [other_values(random.Random(seed), rows[0], pool) for seed in range(300)]
    cities = [variant.truth.tool_calls[0].arguments["to_city"] for variant in made if variant]
    assert 0.8 < sum(city in places for city in cities) / len(cities) < 1
    assert set(cities) <= {*places, "Emma", "Ulysses", "Dune", "Beloved"}


def called(name: str, **arguments: Any) -> dict[str, Any]:
    return {"decision": "execute", "tool_calls": [{"name": name, "arguments": arguments}]}


def test_values_that_stand_in_a_row_are_not_made_a_list() -> None:
    point = tool("point", ["x", "y"], x={"type": "integer"}, y={"type": "integer"})
    source = row("p", "mark (31, 52) on the map", tools=(point,), **called("point", x=31, y=52))
    assert all(for_each(random.Random(seed), source, Pool.of([source])) is None for seed in range(20))


def test_values_in_quotes_are_not_made_a_list() -> None:
    call = {"name": "notes", "arguments": {"text": "milk"}}
    pool = Pool.of(ROWS)
    quoted, bare = (
        row("c", text, tools=(NOTES,), decision="execute", tool_calls=[call])
        for text in ("remember 'milk' please", "remember milk please")
    )
    assert not any(for_each(random.Random(seed), quoted, pool) for seed in range(20))
    several = [made for seed in range(20) if (made := for_each(random.Random(seed), bare, pool))]
    assert several
    for variant in several:
        assert {c.arguments["text"] for c in variant.truth.tool_calls} == {"milk", "Oslo"}
        assert all(c.arguments["text"] in variant.prompt[-1]["content"] for c in variant.truth.tool_calls)


def test_what_was_said_earlier_or_is_no_request_gives_no_variant() -> None:
    longer = ROWS[0].model_copy(update={"prompt": ({"role": "assistant", "content": "?"}, *ROWS[0].prompt)})
    refused = row("c", decision="refuse", category="unsafe")
    assert not is_plain(longer)
    assert variants([longer, refused], 10) == []


def test_a_value_that_is_said_twice_or_in_other_words_is_left_alone() -> None:
    twice = row("a", "Oslo, weather in Oslo", tools=(WEATHER, TIMER), **OSLO)
    other = row("b", "three days of weather in the capital", tools=(WEATHER, TIMER), **OSLO)
    assert Counter(v.extra_info["variant"] for v in variants([twice, other], 100)).keys() == {"absent", "other company"}


@given(st.integers(0, 10_000))
def test_every_variant_of_generated_rows_has_a_truth_that_earns_the_full_reward(seed: int) -> None:
    rows = list(generate_rows(seed, "train", 12))
    for variant in variants(rows, 40, seed):
        text = demonstrate(variant)
        assert text is not None
        assert score_text(text, variant).exact


def test_the_same_seed_gives_the_same_variants_and_no_more_than_asked_for() -> None:
    rows = list(generate_rows(1, "train", 60))
    assert variants(rows, 50, 3) == variants(rows, 50, 3) != variants(rows, 50, 4)
    assert len(variants(rows, 50, 3)) == 50
