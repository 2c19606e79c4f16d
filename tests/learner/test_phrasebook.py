"""The phrasebook: every entry is sound, and exchanging its subject keeps it so."""

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hone.demo.traffic import read_traffic
from learner.synth import utterances
from learner.synth.lexicon import Side
from learner.synth.parameters import fraction
from learner.synth.phrasebook import entries, written_tool
from tests.learner.near_demo import near_the_demo

SEEDS = st.integers(0, 1_000_000)
SIDES: tuple[Side, ...] = ("train", "eval")


@given(SEEDS, st.sampled_from(SIDES))
def test_a_complete_request_carries_every_required_value_and_a_lacking_one_does_not(seed: int, side: Side) -> None:
    rng = random.Random(seed)
    tool = written_tool(rng, side)
    required = {p.name for p in tool.required}
    names = [p.name for p in tool.parameters]
    assert len(names) == len(set(names))
    made = utterances.complete(rng, tool)
    assert required <= set(made.arguments) <= set(names)
    assert not re.search(r"[{}]", made.text)
    lacking = utterances.lacking(rng, tool)
    if lacking is None:
        assert not required
        return
    request, missing = lacking
    assert missing
    assert {p.name for p in missing} == required - set(request.arguments)


@given(SEEDS)
def test_a_text_value_stands_in_the_request_as_it_is(seed: int) -> None:
    rng = random.Random(seed)
    made = utterances.complete(rng, written_tool(rng, "train"))
    for value in made.arguments.values():
        if isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            assert value in made.text


@pytest.mark.parametrize("side", SIDES)
def test_there_are_tools_on_both_sides(side: Side) -> None:
    assert len(entries(side)) >= 15


def test_no_tool_of_the_phrasebook_is_met_again_in_the_demo() -> None:
    written = {entry.name for side in SIDES for entry in entries(side)}
    assert written.isdisjoint({visit.tool for visit in read_traffic()})
    assert {e.name for e in entries("train")}.isdisjoint({e.name for e in entries("eval")})


def test_no_request_beside_a_tool_is_nearly_a_sentence_of_the_demo() -> None:
    written = {text for side in SIDES for entry in entries(side) for text in json.loads(entry.text)["beside"]}
    assert len(written) > 4000
    assert not near_the_demo(written)


@pytest.mark.parametrize("side", SIDES)
def test_every_written_request_says_what_it_is_filed_under(side: Side) -> None:
    for entry in entries(side):
        tool = json.loads(entry.text)
        names = {p["name"] for p in tool["parameters"]}
        required = {p["name"] for p in tool["parameters"] if p["required"]}
        for text in tool["complete"]:
            assert required <= _said(text) <= names, (entry.name, text)
        for text in tool["lacking"]:
            assert _said(text) <= names, (entry.name, text)
            assert not required <= _said(text), (entry.name, text)
        assert bool(tool["lacking"]) == bool(required), entry.name
        for text in tool["beside"]:
            assert _said(text) <= names, (entry.name, text)
            assert text not in {*tool["complete"], *tool["lacking"]}, (entry.name, text)


def _said(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_a_rate_that_is_said_in_percent_is_called_as_a_part_of_one() -> None:
    seen = 0
    for seed in range(3000):
        rng = random.Random(seed)
        tool = written_tool(rng, "train")
        rates = [parameter.name for parameter in tool.parameters if parameter.speak is fraction]
        made = utterances.complete(rng, tool) if rates else None
        assert made is None or not re.search(r"%\s*(%|percent)|percent\s*(%|percent)", made.text)
        for name in rates:
            value = made.arguments.get(name) if made else None
            if made and value is not None:
                seen += 1
                assert 0 < value < 1
                assert re.search(rf"{value}\b|(?<![\d.]){100 * value:.6g}(\.0)? ?(%|percent)", made.text), made.text
    assert seen > 30


def test_a_percentage_stays_what_is_said() -> None:
    tools = [written_tool(random.Random(seed), "train") for seed in range(3000)]
    percentages = [p for tool in tools for p in tool.parameters if p.name.endswith(("percent", "pct"))]
    assert len(percentages) > 20
    assert all(p.speak is not fraction for p in percentages)
