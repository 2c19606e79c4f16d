"""Requests of everyday life: each is sound, none is trained on that is measured on, and none is the demo's."""

from functools import cache

from hone.demo.traffic import read_traffic
from learner.synth.borrowed import Borrowed
from learner.synth.everyday import everyday_rows
from learner.synth.lexicon import Side, side_of
from tests.learner.near_demo import near_the_demo

SIDES: tuple[Side, ...] = ("train", "eval")


@cache
def borrowed(side: Side) -> Borrowed:
    return Borrowed.of(everyday_rows(), side)


def test_every_request_says_its_values_and_fits_its_tool() -> None:
    single = {row.prompt[0]["content"] for side in SIDES for rows in borrowed(side).rows.values() for row in rows}
    several = {row.prompt[0]["content"] for side in SIDES for row in borrowed(side).several}
    wanted = [(len(row.truth.tool_calls), row.prompt[0]["content"]) for row in everyday_rows() if row.truth.tool_calls]
    assert len(wanted) > 4000
    assert {text for calls, text in wanted if calls == 1} <= single
    assert {text for calls, text in wanted if calls > 1} == several


def test_what_a_request_lacks_is_required_by_its_tool() -> None:
    for row in everyday_rows():
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in row.tools}
        missing = [part["parameter"] for part in row.truth.missing]
        required = [schemas[part["tool"]]["required"] for part in row.truth.missing]
        assert bool(missing) == (row.truth.decision == "clarify")
        assert all(name in names for name, names in zip(missing, required, strict=True))


def test_no_request_is_written_twice_and_no_tool_is_named_like_another() -> None:
    said = [row.prompt[0]["content"].lower() for row in everyday_rows()]
    assert len(said) == len(set(said))
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
    measured = [row for row in everyday_rows() if row.extra_info["split"] == "eval"]
    assert {call.name for row in measured for call in row.truth.tool_calls} == set(borrowed("eval").rows)


def test_no_tool_and_no_request_is_met_again_in_the_demo() -> None:
    names = {tool["function"]["name"] for row in everyday_rows() for tool in row.tools}
    assert names.isdisjoint({visit.tool for visit in read_traffic()})
    assert not near_the_demo(row.prompt[0]["content"] for row in everyday_rows())
