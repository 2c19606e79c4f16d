"""Families from written rows."""

import random
from collections import Counter

import pytest

from learner.demonstration import decide
from learner.rows import Row
from learner.synth.borrowed import Borrowed
from learner.synth.everyday import BESIDE, LACKING
from learner.synth.lexicon import side_of
from learner.synth.renaming import otherwise_named
from tests.learner.case_rows import row, tool
from tools.json_schema import argument_errors

NAMES = [
    f"{verb}_{noun}" for verb in ("find", "order", "cancel") for noun in ("kiln", "barge", "tulip", "anvil", "sled")
]


def rows_of(names: list[str]) -> list:
    made = []
    for place, name in enumerate(names):
        where = "code" if name.startswith("cancel") else "place"
        needed = [where, "days"] if name.startswith("order") else [where]
        shown = tool(name, needed, **{where: {"type": "string"}, "days": {"type": "integer"}})
        call = {"name": name, "arguments": {where: f"Town{place}x", "days": 3}}
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
    asked = ("execute", "several", "each", "clarify", "absent", "gathered", "announced", "provided")
    assert kinds == {f"borrowed {kind}" for kind in asked}


@pytest.mark.parametrize(
    ("value", "said"),
    [(12.5, "$12.50 please"), (6, "6cm"), (70, "weighs 70kg"), (1500, "$1,500.00"), (0.05, "5%"), (2, "two of them")],
)
def test_a_number_is_borrowed_as_people_write_it(value: float, said: str) -> None:
    assert Borrowed.of([figured(value, said)], side_of("find_kiln")).rows


@pytest.mark.parametrize(("value", "said"), [(0.065, "0.07"), (12.345, "12.35"), (5, "5k"), (10, "10,000")])
def test_a_number_that_was_not_said_is_not_borrowed(value: float, said: str) -> None:
    assert not Borrowed.of([figured(value, said)], side_of("find_kiln")).rows


def figured(value: float, said: str) -> Row:
    shown = tool("find_kiln", ["size"], size={"type": "number"})
    calls = [{"name": "find_kiln", "arguments": {"size": value}}]
    return row("find_kiln", f"a kiln, {said}", tools=[shown], decision="execute", tool_calls=calls)


def test_requests_written_to_lack_something_or_to_lie_near_a_tool_are_asked_about_and_declined() -> None:
    about = {"tool_ids": ["find_kiln"]}
    lacking = row("asked", "is a kiln free?", decision="clarify", missing=[{"tool": "find_kiln", "parameter": "place"}])
    near = row("near", "how hot does it get inside?", decision="refuse", category="out_of_scope")
    nearer = row("nearer", "is it hot on a barge?", decision="refuse", category="out_of_scope")
    written = [
        lacking.model_copy(update={"data_source": LACKING, "extra_info": lacking.extra_info | about}),
        near.model_copy(update={"data_source": BESIDE, "extra_info": near.extra_info | about}),
        nearer.model_copy(update={"data_source": BESIDE, "extra_info": nearer.extra_info | about}),
    ]
    borrowed = Borrowed.of([*rows_of(NAMES), *written], side_of("find_kiln"))
    decided: dict[str, list] = {"asked: is a kiln free?": [], "near: how hot does it get inside?": []}
    for seed in range(60):
        family = borrowed.family(random.Random(seed), situations=12)
        shown = {schema["function"]["name"].split("_")[1] for schema in family.schemas}
        for situation in family.situations:
            if (said := situation.messages[-1]["content"]) in decided:
                decided[said].append(situation.truth)
            assert "barge" not in shown or "on a barge" not in said  # a tool for barges might serve it
    asked, declined = decided.values()
    assert {truth.missing[0]["parameter"] for truth in asked} == {"place"}
    assert {truth.category for truth in declined} == {"out_of_scope"}


@pytest.mark.parametrize("kind", ["gathered", "announced", "provided"])
def test_a_borrowed_request_that_takes_shape_is_served_with_what_was_said_or_found(kind: str) -> None:
    borrowed = Borrowed.of(rows_of(NAMES), "train")
    families = [borrowed.family(random.Random(seed), situations=12) for seed in range(120)]
    made = [s for family in families for s in family.situations if s.kind == f"borrowed {kind}"]
    decided = Counter[str]()
    for situation in made:
        decided[situation.decision.kind] += 1
        before = " ".join(m["content"] for m in situation.messages if m["role"] in ("user", "tool"))
        for call in situation.truth.tool_calls:
            assert set(call.arguments) & {"place", "code"}
            assert all(str(value) in before for value in call.arguments.values())
        for part in situation.truth.missing:
            assert part["parameter"] in borrowed.tools[part["tool"]]["function"]["parameters"]["required"]
    assert decided["execute"] > 5
    assert (decided["clarify"] > 0) == (kind != "provided")


@pytest.mark.parametrize("kind", ["several", "each"])
def test_a_borrowed_request_for_several_calls_says_every_value_and_wants_no_call_twice(kind: str) -> None:
    borrowed = Borrowed.of(rows_of(NAMES), "train")
    families = [borrowed.family(random.Random(seed), situations=12) for seed in range(20)]
    several = [made for family in families for made in family.situations if made.kind == f"borrowed {kind}"]
    for made in several:
        calls = made.truth.tool_calls
        assert len(calls) > 1
        assert all(call not in calls[:at] for at, call in enumerate(calls))
        for call in calls:
            assert {type(value) for value in call.arguments.values()} == {str, int}
            assert all(str(value) in made.messages[-1]["content"] for value in call.arguments.values())
    assert len(several) > 5
    assert max(len(made.truth.tool_calls) for made in several) > 2


TRAIN = [name for name in NAMES if side_of(name) == "train"]


def request_for_three() -> Row:
    """Of the second, what it is about is said in two sentences."""
    shown = [tool(name, ["place"], place={"type": "string"}, days={"type": "integer"}) for name in TRAIN[:3]]
    calls = [
        {"name": TRAIN[0], "arguments": {"place": "bergen", "days": 2}},
        {"name": TRAIN[1], "arguments": {"place": "Umea", "days": 9}},
        {"name": TRAIN[2], "arguments": {"place": "Faro", "days": 12000}},
    ]
    text = "Get me one in Bergen for two days, please. I am off to Umea. Make it 9 days. Finally, hold it in Faro for 12,000 days."
    return row(TRAIN[0], tools=shown, decision="execute", tool_calls=calls).model_copy(
        update={"prompt": ({"role": "user", "content": text},)}
    )


def test_sentences_of_a_longer_request_that_are_about_one_call_are_requests_of_their_own() -> None:
    borrowed = Borrowed.of([request_for_three()], "train")
    assert set(borrowed.rows) == {TRAIN[0], TRAIN[2]}
    (first,), (last,) = borrowed.rows[TRAIN[0]], borrowed.rows[TRAIN[2]]
    assert first.prompt[-1]["content"] == "Get me one in Bergen for two days, please."
    assert first.truth.tool_calls[0].arguments == {"place": "Bergen", "days": 2}
    assert last.prompt[-1]["content"] == "Hold it in Faro for 12,000 days."
    assert last.truth.tool_calls[0].arguments == {"place": "Faro", "days": 12000}


def test_a_whole_request_for_several_calls_is_asked_over_its_own_tools() -> None:
    borrowed = Borrowed.of([request_for_three(), *rows_of(TRAIN[3:])], "train")
    families = [borrowed.family(random.Random(seed), situations=12) for seed in range(20)]
    asked = [f for f in families if any(s.kind == "borrowed whole" for s in f.situations)]
    assert len(asked) > 3
    for family in asked:
        assert set(TRAIN[:3]) <= {t["function"]["name"] for t in family.schemas}


def test_a_borrowed_family_shows_as_many_tools_as_asked_for() -> None:
    borrowed = Borrowed.of(rows_of(NAMES), "train")
    shown = {len(borrowed.family(random.Random(seed), situations=1, tools=(4, 6)).schemas) for seed in range(30)}
    assert shown == {4, 5, 6}


def named(name: str, description: str = "") -> Row:
    """A request that says the tool's name, for a tool that says so of itself."""
    (made,) = rows_of([name])
    made.tools[0]["function"]["description"] = description or f"Does {name}."
    return made.model_copy(update={"prompt": ({"role": "user", "content": f"{name} Town0x for 3 days"},)})


def test_tools_that_share_a_word_come_together_more_often_than_by_chance() -> None:
    alike = [
        f"find_{kind}_{noun}"
        for kind in ("river", "harbour")
        for noun in ("barge", "pilot", "crane", "bridge", "ferry")
    ]
    alike = [name for name in alike if side_of(name) == "train"]
    strangers = [f"find_{noun}" for noun in ("kiln", "tulip", "anvil", "opera", "violin", "comet", "prune", "sonnet")]
    borrowed = Borrowed.of([named(name) for name in alike + strangers], "train")
    families = [borrowed.family(random.Random(seed), situations=1, tools=(3, 3)) for seed in range(200)]
    near = sum(all(t["function"]["name"] in alike for t in family.schemas) for family in families)
    assert near > 200 * 0.25  # with eight or nine of sixteen alike, chance alone gives 0.1 to 0.15
    assert near < 200 * 0.6


def _declined(borrowed: Borrowed) -> set[tuple[str, str]]:
    """Tools asked for in vain, each with one that was there."""
    found = set()
    for seed in range(150):
        family = borrowed.family(random.Random(seed), situations=8, tools=(1, 2))
        for made in family.situations:
            wanted = made.messages[0]["content"].split()[0]
            if made.kind == "borrowed absent" and wanted in borrowed.tools:
                found |= {(wanted, tool["function"]["name"]) for tool in family.schemas}
    return found


def test_a_near_miss_is_declined_only_where_no_tool_could_stand_in() -> None:
    same = "Tells how much water a gate of the canal lets through, and when it opens."
    told = {
        "find_river_barge": "Says where a boat is.",
        "find_barge_crane": "Lifts loads out of ships.",
        "show_barge": "",
        "canal_opening_hours": same,
        "get_canal_gate": same,
    }
    borrowed = Borrowed.of([named(name, text) for name, text in told.items()], "train")
    assert set(borrowed.tools) == set(told)
    declined = _declined(borrowed)
    assert ("find_river_barge", "find_barge_crane") in declined  # each is about something that the other is not
    assert ("show_barge", "find_river_barge") not in declined
    assert ("find_river_barge", "show_barge") not in declined
    assert ("canal_opening_hours", "get_canal_gate") not in declined  # the descriptions say the same
    assert ("canal_opening_hours", "show_barge") in declined


def test_what_is_measured_on_is_never_borrowed() -> None:
    kept = request_for_three().model_copy(update={"data_source": "bfcl/parallel_multiple"})
    assert Borrowed.of([kept], "train").tools == {}


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
    good, broken, unsaid = rows_of(TRAIN[:3])
    broken = broken.model_copy(update={"tools": (tool(broken.extra_info["id"], place={"type": "integer"}),)})
    unsaid = unsaid.model_copy(update={"prompt": ({"role": "user", "content": "the usual, please"},)})
    assert set(Borrowed.of([good, broken, unsaid], "train").tools) == {good.extra_info["id"]}


def test_where_a_label_allows_several_values_one_that_is_said_is_taught() -> None:
    (only,) = rows_of(TRAIN[:1])
    name = only.extra_info["id"]
    call = {
        "name": name,
        "arguments": {"place": {"any_of": ["T0", "LISBON"]}, "days": {"any_of": [4, 7], "optional": True}},
    }
    only = row(name, "Lisbon for 3 days", tools=only.tools, decision="execute", tool_calls=[call])
    kept = Borrowed.of([only], "train").rows[name][0]
    assert kept.truth.tool_calls[0].arguments == {"place": "Lisbon"}
    assert decide(kept) is not None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Compound 10,000 euros", 10),
        ("the temperature in celsius", "c"),
        ("Provide German history", "DE"),
        ("3.5 miles", 5),
    ],
)
def test_what_is_only_a_part_of_a_word_or_a_figure_is_not_said(text: str, value: str | int) -> None:
    shown = tool(TRAIN[0], place={"type": "string"}, days={"type": "integer"})
    name = "place" if isinstance(value, str) else "days"
    call = {"name": TRAIN[0], "arguments": {name: value}}
    asked = row(TRAIN[0], text, tools=[shown], decision="execute", tool_calls=[call])
    assert Borrowed.of([asked], "train").rows == {}


def test_real_tools_that_are_called_otherwise_are_still_called_rightly() -> None:
    names = ["find_hotel", "order_meal", "cancel_song", "find_film", "order_weather"]
    borrowed = Borrowed.of(rows_of([*names, *NAMES]), "train")
    changed = 0
    for seed in range(60):
        before = borrowed.family(random.Random(seed), situations=12)
        after = otherwise_named(random.Random(seed), before)
        shown = {t["function"]["name"]: t["function"]["parameters"] for t in after.schemas}
        changed += before.schemas != after.schemas
        for situation in after.situations:
            for call in situation.truth.tool_calls:
                assert not argument_errors(shown[call.name], call.arguments)
            for part in situation.truth.missing:
                assert part["parameter"] in shown[part["tool"]]["required"]
    assert changed > 10
