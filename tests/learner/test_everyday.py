"""Requests of everyday life: each is sound, none is trained on that is measured on, and none is the demo's."""

import random
from collections import Counter
from functools import cache

from hone.demo.traffic import read_traffic
from learner.rows import Row
from learner.synth.borrowed import Borrowed
from learner.synth.everyday import everyday_rows, everyday_talks
from learner.synth.lexicon import Side, side_of
from learner.synth.sound_rows import all_said
from learner.synth.talks import SOURCE
from tests.learner.near_demo import near_the_demo
from tools.json_schema import argument_errors

SIDES: tuple[Side, ...] = ("train", "eval")


@cache
def borrowed(side: Side) -> Borrowed:
    return Borrowed.of(everyday_rows(), side, everyday_talks())


def alone() -> list[Row]:
    """Requests in one message."""
    return [row for row in everyday_rows() if row.data_source != SOURCE]


def schemas_of(row: Row) -> dict[str, dict]:
    return {tool["function"]["name"]: tool["function"]["parameters"] for tool in row.tools}


def test_every_request_says_its_values_and_fits_its_tool() -> None:
    single = {row.prompt[0]["content"] for side in SIDES for rows in borrowed(side).rows.values() for row in rows}
    several = {row.prompt[0]["content"] for side in SIDES for row in borrowed(side).several}
    wanted = [(len(row.truth.tool_calls), row.prompt[0]["content"]) for row in alone() if row.truth.tool_calls]
    assert len(wanted) > 4000
    assert {text for calls, text in wanted if calls == 1} <= single
    assert {text for calls, text in wanted if calls > 1} <= several


def test_what_a_request_lacks_is_required_by_its_tool() -> None:
    for row in everyday_rows():
        missing = [part["parameter"] for part in row.truth.missing]
        required = [schemas_of(row)[part["tool"]]["required"] for part in row.truth.missing]
        assert bool(missing) == (row.truth.decision == "clarify")
        assert all(name in names for name, names in zip(missing, required, strict=True))


def test_no_request_is_written_twice_and_no_tool_is_named_like_another() -> None:
    said = [row.prompt[0]["content"].lower() for row in alone()]
    assert len(said) == len(set(said))
    talks = [str([turn.asked for turn in talk.turns]).lower() for talk in everyday_talks()]
    assert len(talks) == len(set(talks))
    shown = {str(row.tools): [tool["function"]["name"] for tool in row.tools] for row in everyday_rows()}
    names = [name for tools in shown.values() for name in tools]
    assert len(names) == len(set(names))


def test_tools_of_the_evaluation_are_never_trained_on() -> None:
    for side in SIDES:
        found = borrowed(side)
        called = {call.name for row in found.several for call in row.truth.tool_calls}
        met = {*found.tools, *found.rows, *found.lacking, *found.beside, *called}
        assert {side_of(name) for name in met} == {side}
        assert len(found.lacking) > 80
        assert len(found.beside) > 80
        assert {side_of(name) for talk in found.talks for name in talk.about} == {side}
        assert len(found.talks) > 40
    measured = [row for row in everyday_rows() if row.extra_info["split"] == "eval"]
    assert {call.name for row in measured for call in row.truth.tool_calls} == set(borrowed("eval").rows)


def test_what_a_conversation_calls_for_was_said_or_given_before() -> None:
    rows = [row for row in everyday_rows() if row.data_source == SOURCE]
    assert Counter(row.truth.decision for row in rows).keys() == {"execute", "clarify", "refuse"}
    for row in rows:
        heard = "\n".join(message["content"] for message in row.prompt)
        schemas = schemas_of(row)
        assert all_said(row.truth.tool_calls, heard), row.extra_info["id"]
        assert not any(argument_errors(schemas[call.name], call.arguments) for call in row.truth.tool_calls)


def test_a_conversation_is_met_up_to_any_of_its_turns_and_its_calls_are_decisions() -> None:
    rng, found = random.Random(3), Counter[tuple[str, str]]()
    for _ in range(200):
        family = borrowed("train").family(rng, situations=8)
        shown = {tool["function"]["name"] for tool in family.schemas}
        for situation in family.situations:
            called = {call.name for call in situation.truth.tool_calls}
            assert called | {part["tool"] for part in situation.truth.missing} <= shown
            if situation.kind == "borrowed talk":
                found[situation.truth.decision, "later" if len(situation.messages) > 1 else "first"] += 1
                for number, message in enumerate(situation.messages):
                    assert (number in situation.taught) == ("tool_calls" in message)
    assert found.keys() >= {("execute", "later"), ("clarify", "first"), ("clarify", "later"), ("refuse", "later")}


def test_a_long_conversation_holds_a_written_one_once_at_most() -> None:
    rng, found = random.Random(4), Counter[int]()
    openings = {talk.turns[0].asked for talk in borrowed("train").talks}
    for _ in range(60):
        for situation in borrowed("train").family(rng, situations=4, long=True).situations:
            said = [message["content"] for message in situation.messages if message["role"] == "user"]
            found[sum(text in openings for text in said)] += 1
    assert found.keys() == {0, 1}


def test_no_tool_and_no_request_is_met_again_in_the_demo() -> None:
    names = {tool["function"]["name"] for row in everyday_rows() for tool in row.tools}
    assert names.isdisjoint({visit.tool for visit in read_traffic()})
    assert not near_the_demo(row.prompt[0]["content"] for row in alone())
    assert not near_the_demo(turn.asked for talk in everyday_talks() for turn in talk.turns)
