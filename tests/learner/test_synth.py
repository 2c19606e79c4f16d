"""Generated decisions: reproducible, right by their own rules, and apart between training and evaluation."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.starter import CHAT_TEMPLATE
from learner.synth.conversations import can_go_on
from learner.synth.invention import invent_tool
from learner.synth.lexicon import NOUNS_BY_SIDE, side_of
from learner.synth.parameters import (
    Parameter,
    fraction,
    iso_date,
    list_of,
    number,
    plain_parameter,
    quoted,
    sentence,
    series_parameters,
)
from learner.synth.rows import generate_rows
from learner.synth.scenarios import Family, invent_family
from learner.synth.sequences import together
from learner.synth.situations import Situation
from learner.synth.things import things
from learner.synth.toolset import CHANCES
from learner.synth.utterances import lacking, mistyped
from runtime.decision import Clarify, Execute, ToolCall, parse_decision, write_decision
from runtime.prompt import Renderer
from runtime.settings import STARTER_MODEL
from tools.execution import argument_errors

SEEDS = st.integers(0, 100_000)


@given(SEEDS)
def test_every_situation_reads_back_as_the_decision_that_was_written(seed: int) -> None:
    family = invent_family(random.Random(seed), "train")
    names = [tool.name for tool in family.tools]
    for situation in family.situations:
        after = situation.messages[-1]["role"] == "tool"
        written = write_decision(situation.decision)
        assert parse_decision(written, names, after_tool_result=after) == situation.decision


@given(SEEDS)
def test_every_call_is_valid_by_its_tools_schema(seed: int) -> None:
    family = invent_family(random.Random(seed), "eval")
    schemas = {s["function"]["name"]: s["function"]["parameters"] for s in family.schemas}
    for situation in family.situations:
        if isinstance(situation.decision, Execute):
            for call in situation.decision.calls:
                assert argument_errors(schemas[call.name], call.arguments) == []


def test_the_same_seed_gives_the_same_rows() -> None:
    assert list(generate_rows(4, "train", 50)) == list(generate_rows(4, "train", 50))


def test_training_and_evaluation_share_no_noun() -> None:
    assert set(NOUNS_BY_SIDE["train"]).isdisjoint(NOUNS_BY_SIDE["eval"])
    assert all(side_of(noun) == "eval" for noun in NOUNS_BY_SIDE["eval"])


def situations(kind: str, count: int = 40) -> Iterator[tuple[Family, Situation]]:
    """So many of one kind, each with its family."""
    for seed in range(count):
        rng = random.Random(f"{kind}/{seed}")
        family = invent_family(rng, "train", tools=(3, 5), situations=3, weights={kind: 1, "chat": 0.3})
        yield from ((family, made) for made in family.situations if made.kind == kind)


def calls_of(situation: Situation) -> tuple[ToolCall, ...]:
    assert isinstance(situation.decision, Execute)
    return situation.decision.calls


def test_a_request_for_several_values_is_a_call_for_each_and_says_every_one() -> None:
    one_differs, all_differ = 0, 0
    for _, made in situations("each"):
        calls = calls_of(made)
        assert len(calls) >= 2
        assert len({call.name for call in calls}) == 1
        differing = {key for key in calls[0].arguments if len({str(c.arguments[key]) for c in calls}) > 1}
        assert len(differing) in (1, len(calls[0].arguments))
        for key in differing:
            assert len({str(call.arguments[key]) for call in calls}) == len(calls)
        one_differs += len(differing) == 1
        all_differ += len(differing) > 1
    assert one_differs > 20
    assert all_differ > 5


def test_what_was_served_of_a_few_requests_is_not_served_again() -> None:
    endings, counts = Counter[str](), Counter[int]()
    for _, made in situations("rest"):
        served = [call["function"] for message in made.messages for call in message.get("tool_calls", ())]
        endings[made.decision.kind] += 1
        if isinstance(made.decision, Execute):
            for call in made.decision.calls:
                assert {"name": call.name, "arguments": call.arguments} not in served
            assert served
            counts[len(served) + len(made.decision.calls)] += 1
        else:
            assert len(served) >= 2
    assert min(endings.values()) > 5
    assert set(counts) == {2, 3, 4}


@pytest.mark.parametrize("count", [2, 3, 4])
def test_requests_in_one_message_are_all_said_in_their_order(count: int) -> None:
    requests = [f"book room {number} for me" for number in range(101, 101 + count)]
    for seed in range(200):
        text = together(random.Random(seed), requests)
        places = [text.index(request) for request in requests]
        assert places == sorted(places)


def test_a_call_that_goes_on_takes_its_value_from_the_result() -> None:
    taken = 0
    for family, made in situations("chain", 80):
        results = [json.loads(m["content"]) for m in made.messages if m["role"] == "tool"]
        if not isinstance(made.decision, Execute) or not results:
            continue
        (call,) = made.decision.calls
        required = next(t.required for t in family.tools if t.name == call.name)
        from_result = [
            p.name for p in required if p.name in results[0] and call.arguments[p.name] == results[0][p.name]
        ]
        assert from_result
        assert set(call.arguments) >= {p.name for p in required}
        taken += 1
    assert taken > 15


def test_a_correction_changes_one_value_and_says_the_new_one() -> None:
    seen = 0
    for _, made in situations("corrected"):
        (before,) = [call["function"]["arguments"] for m in made.messages for call in m.get("tool_calls", ())]
        (call,) = calls_of(made)
        assert set(call.arguments) == set(before)
        assert sum(call.arguments[key] != before[key] for key in before) == 1
        seen += 1
    assert seen > 20


def test_details_that_arrive_one_by_one_are_asked_for_until_all_are_there_whoever_spoke_last() -> None:
    endings = Counter[tuple[str, str]]()
    for family, made in situations("gathered", 120):
        assert not any(message.get("tool_calls") for message in made.messages)
        endings[made.decision.kind, made.messages[-1]["role"]] += 1
        if isinstance(made.decision, Execute):
            (call,) = made.decision.calls
            assert set(call.arguments) >= {p.name for p in required_of(family, call.name)}
        else:
            assert isinstance(made.decision, Clarify)
            missing = [m.parameter for m in made.decision.missing]
            required = [p.name for p in required_of(family, made.decision.missing[0].tool or "")]
            assert missing == [name for name in required if name in missing]
    assert endings["execute", "user"] > 50
    assert endings["execute", "assistant"] > 20
    assert endings["clarify", "user"] > 10


def required_of(family: Family, name: str) -> tuple[Parameter, ...]:
    return next(tool.required for tool in family.tools if tool.name == name)


def test_what_the_assistant_said_it_would_do_it_does_or_asks_for_what_it_lacks() -> None:
    endings = Counter[str]()
    for _, made in situations("announced", 60):
        assert [m["role"] for m in made.messages] == ["user", "assistant"]
        endings[made.decision.kind] += 1
    assert set(endings) == {"execute", "clarify"}
    assert min(endings.values()) > 10


def test_a_value_that_another_tool_has_to_give_is_got_from_it_and_then_used() -> None:
    before, after = 0, 0
    for family, made in situations("provided", 120):
        (call,) = calls_of(made)
        assert set(call.arguments) >= {p.name for p in required_of(family, call.name)}
        results = [json.loads(m["content"]) for m in made.messages if m["role"] == "tool"]
        if not results:
            before += 1
            continue
        served = [c["function"]["name"] for m in made.messages for c in m.get("tool_calls", ())]
        assert call.name not in served
        assert any(name in results[0] and value == results[0][name] for name, value in call.arguments.items())
        after += 1
    assert before > 10
    assert after > 10


def test_a_conversation_goes_on_only_after_what_was_done_declined_or_answered() -> None:
    rounds = Counter[int]()
    for _, made in situations("conversation", 60):
        roles = [message["role"] for message in made.messages]
        assert len(roles) - 1 not in made.taught  # the last decision is yet to be made
        rounds[sum(role == "user" for role in roles)] += 1
        for at in made.taught:
            assert made.messages[at]["role"] == "assistant"
            assert roles[at - 1] != "assistant" or made.messages[at].get("tool_calls")
        served = [at for at, message in enumerate(made.messages) if message.get("tool_calls")]
        assert all(roles[at + 1] == "tool" for at in served)
    assert max(rounds) >= 5
    assert min(rounds) <= 2
    assert not any(can_go_on(made) for _, made in situations("clarify"))
    assert all(can_go_on(made) for kind in ("execute", "absent", "result") for _, made in situations(kind, 10))


def test_tools_by_fit_are_asked_for_as_often_as_a_search_puts_them_there() -> None:
    places = Counter[tuple[bool, int]]()
    for seed in range(150):
        for by_fit in (False, True):
            rng = random.Random(f"fit/{seed}")
            family = invent_family(rng, "train", tools=(4, 4), weights={"execute": 1}, by_fit=by_fit)
            names = [tool.name for tool in family.tools]
            places.update((by_fit, names.index(calls_of(made)[0].name)) for made in family.situations)
    for place, chance in enumerate(CHANCES[:4]):
        assert abs(places[True, place] / 1200 - chance) < 0.05
        assert abs(places[False, place] / 1200 - 0.25) < 0.05


@given(SEEDS)
def test_a_slip_of_the_fingers_spares_values(seed: int) -> None:
    text = "please book the hotel Frankfurter Allee for kristina@example.com"
    wrong = mistyped(random.Random(seed), text, "Frankfurter Allee, kristina@example.com")
    assert wrong != text
    assert wrong.endswith("Frankfurter Allee for kristina@example.com")
    differing = [a for a, b in zip(text.split(), wrong.split(), strict=True) if a != b]
    assert differing in (["please"], ["hotel"])


@given(SEEDS)
def test_values_that_are_said_one_after_the_other_stand_in_the_order_of_the_signature(seed: int) -> None:
    parameters, cues = series_parameters(random.Random(seed), "train")
    assert 2 <= len({p.name for p in parameters}) == len(parameters) <= 4
    values = [f"v{at}x" for at in range(len(parameters))]
    for cue in cues:
        assert re.findall(r"v\dx", cue.format(*values)) == values


def test_which_of_a_series_is_missing_can_be_told_from_those_that_are_named() -> None:
    asked = 0
    for seed in range(4000):
        rng = random.Random(seed)
        tool = invent_tool(rng, "train")
        if len(tool.group) < 2 or any(cue == "{v}" for p in tool.parameters if p.name in tool.group for cue in p.cues):
            continue
        if not any("= {v}" in cue for p in tool.parameters if p.name in tool.group for cue in p.cues):
            continue  # a pair, whose cues tell the two apart
        made, missing = lacking(rng, tool) or (None, [])
        if made is None or not {p.name for p in missing} & set(tool.group):
            continue
        for p in tool.parameters:
            if p.name in tool.group and p.name in made.arguments:
                assert p.words.lower() in made.text.lower() or p.name.lower() in made.text.lower()
                asked += 1
    assert asked > 20


@given(SEEDS)
def test_a_list_of_numbers_can_be_read_in_one_way_only(seed: int) -> None:
    values, said = list_of(number)(random.Random(seed))
    plain = re.sub(r"(?<![\d.,])(\d{1,3}(,\d{3})+)(?![\d,])", lambda found: found[0].replace(",", ""), said)
    inside = said[1:-1] if said.startswith("[") else plain
    assert [float(part) for part in re.findall(r"-?\d+(?:\.\d+)?", inside)] == values


_DATE_FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y")


@given(SEEDS)
def test_a_date_means_the_same_however_it_is_written(seed: int) -> None:
    value, said = iso_date(random.Random(seed))
    plain = re.sub(r"(\d)(st|nd|rd|th)( of)?\b", r"\1", said)
    assert value in {found.isoformat() for form in _DATE_FORMS if (found := _date(plain, form))}


def _date(text: str, form: str) -> date | None:
    try:
        return datetime.strptime(text, form).date()
    except ValueError:
        return None


@given(SEEDS)
def test_a_text_with_marks_of_its_own_is_quoted_and_copied_whole(seed: int) -> None:
    for speak in (quoted, sentence):
        value, said = speak(random.Random(seed))
        assert said in (value, f"'{value}'", f'"{value}"')
        if re.search(r"[,:.!?&'/()]", value):
            assert said[0] == said[-1]
            assert said[0] not in value


def test_a_value_is_not_put_in_marks_twice() -> None:
    families = [invent_family(random.Random(seed), "train") for seed in range(200)]
    said = [message for family in families for made in family.situations for message in made.messages]
    messages = [message["content"] for message in said if message["role"] == "user"]
    assert sum("'" in text or '"' in text for text in messages) > 300
    assert not [text for text in messages if re.search(r"""''\w|""\w|"'\w[^'"]*'"|'"\w[^'"]*"'|\[\[""", text)]


def test_nested_arguments_days_and_quantities_occur_and_are_said() -> None:
    nested, words = 0, Counter[str]()
    for seed in range(600):
        for made in invent_family(random.Random(f"nested/{seed}"), "train").situations:
            for call in made.decision.calls if isinstance(made.decision, Execute) else ():
                values = list(call.arguments.values())
                nested += any(isinstance(v, dict) or (isinstance(v, list) and isinstance(v[0], dict)) for v in values)
                words.update(v for v in values if v in ("tomorrow", "today", "next week"))
    assert nested > 20
    assert set(words) == {"tomorrow", "today", "next week"}


def test_the_template_shows_the_fields_of_objects() -> None:
    address: dict[str, Any] = {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"to": address, "all": {"type": "array", "items": address}},
    }
    tool = {"type": "function", "function": {"name": "send", "description": "Sends", "parameters": schema}}
    shown = Renderer.load(STARTER_MODEL).render([{"role": "user", "content": "hi"}], [tool]).text
    assert "send(to?:{street*:string} all?:[{street*:string}]) Sends" in shown
    assert (STARTER_MODEL / "chat_template.jinja").read_text() == CHAT_TEMPLATE


def test_things_of_many_kinds_are_a_share_of_what_is_said() -> None:
    kinds = things()
    assert len(kinds) > 60
    for names, known in kinds:
        assert len(set(known)) == len(known) >= 4
        assert all(name.isidentifier() for name in names)
        assert all(thing.strip() == thing != "" for thing in known)
    drawn = [plain_parameter(random.Random(seed), True, set()).speak(random.Random(0))[0] for seed in range(400)]
    every = {thing for _, known in kinds for thing in known}
    assert 0.1 < sum(isinstance(value, str) and value in every for value in drawn) / len(drawn) < 0.4


@given(st.integers(0, 1_000_000))
def test_a_rate_is_a_part_of_one_however_it_is_said(seed: int) -> None:
    value, text = fraction(random.Random(seed))
    assert 0 < value < 1
    amount = float(re.sub(r"%| percent", "", text))
    assert value == pytest.approx(amount if text == str(value) else amount / 100)
