"""Families from rows that others wrote."""

import random

from learner.demonstration import decide
from learner.synth.borrowed import Borrowed
from learner.synth.lexicon import side_of
from tests.learner.case_rows import row, tool

NAMES = [
    f"{verb}_{noun}" for verb in ("find", "order", "cancel") for noun in ("kiln", "barge", "tulip", "anvil", "sled")
]


def rows_of(names: list[str]) -> list:
    made = []
    for place, name in enumerate(names):
        shown = tool(name, ["place"], place={"type": "string"}, days={"type": "integer"})
        call = {"name": name, "arguments": {"place": f"Town{place}x", "days": 3}}
        text = f"{name.replace('_', ' ')} in Town{place}x for 3 days"
        made.append(row(name, text, tools=[shown], decision="execute", tool_calls=[call]))
    return made


def test_each_family_asks_for_what_is_there_what_is_not_and_too_little() -> None:
    borrowed = Borrowed.of(rows_of(NAMES), "train")
    kinds = set()
    for seed in range(20):
        family = borrowed.family(random.Random(seed), situations=12)
        shown = {t["function"]["name"] for t in family.schemas}
        for situation in family.situations:
            kinds.add(situation.kind)
            called = {c.name for c in situation.truth.tool_calls} | {m["tool"] for m in situation.truth.missing}
            assert called <= shown
            if situation.kind == "borrowed absent":
                assert situation.truth.decision == "refuse"
    assert kinds == {f"borrowed {kind}" for kind in ("execute", "several", "clarify", "absent")}


def test_two_borrowed_requests_in_one_message_are_two_calls_whose_values_are_said() -> None:
    borrowed = Borrowed.of(rows_of(NAMES), "train")
    several = [
        made
        for seed in range(20)
        for made in borrowed.family(random.Random(seed), situations=12).situations
        if made.kind == "borrowed several"
    ]
    for made in several:
        first, second = made.truth.tool_calls
        assert first != second
        for call in (first, second):
            assert call.arguments["place"] in made.messages[-1]["content"]
    assert len(several) > 5


def test_a_long_borrowed_conversation_serves_requests_before_the_last() -> None:
    family = Borrowed.of(rows_of(NAMES), "train").family(random.Random(1), situations=8, long=True)
    assert {made.kind for made in family.situations} == {"borrowed conversation"}
    assert all(sum(m["role"] == "user" for m in made.messages) > 1 for made in family.situations)
    assert any(made.taught for made in family.situations)


def test_tools_of_the_evaluation_are_never_borrowed_for_training() -> None:
    train, held = (Borrowed.of(rows_of(NAMES), side) for side in ("train", "eval"))
    assert set(train.tools) == {n for n in NAMES if side_of(n) == "train"}
    assert set(held.tools).isdisjoint(train.tools)


def test_labels_that_break_their_schema_or_were_never_said_are_left_out() -> None:
    good, broken, unsaid, several = rows_of([n for n in NAMES if side_of(n) == "train"][:4])
    broken = broken.model_copy(update={"tools": (tool(broken.extra_info["id"], place={"type": "integer"}),)})
    unsaid = unsaid.model_copy(update={"prompt": ({"role": "user", "content": "the usual, please"},)})
    call = {"name": several.extra_info["id"], "arguments": {"place": "a"}}
    several = row("several", "a and a", tools=several.tools, decision="execute", tool_calls=[call, call])
    assert set(Borrowed.of([good, broken, unsaid, several], "train").tools) == {good.extra_info["id"]}


def test_where_a_label_allows_several_values_one_is_taught() -> None:
    (only,) = rows_of([n for n in NAMES if side_of(n) == "train"][:1])
    name = only.extra_info["id"]
    call = {
        "name": name,
        "arguments": {"place": {"any_of": ["Town0x", "T0"]}, "days": {"any_of": [3], "optional": True}},
    }
    only = row(name, "Town0x for 3 days", tools=only.tools, decision="execute", tool_calls=[call])
    kept = Borrowed.of([only], "train").rows[name][0]
    assert kept.truth.tool_calls[0].arguments == {"place": "Town0x"}
    assert decide(kept) is not None
