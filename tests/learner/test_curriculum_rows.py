"""Cases of registered tools as rows: train tools to learn on, never-train tools to measure on, and never the other way round."""

from collections.abc import Sequence

import pytest

from learner.curriculum_rows import case_row, evaluation_rows, training_rows
from learner.evaluation import row_ids
from learner.rewards import score_text
from learner.rows import Row
from learner.tool_measurement import measure_tool
from tests.learner.case_rows import PlainRenderer, ScriptedPolicy, by_row, right_text
from tests.tools.tool_specs import COMPANY, EXAMPLES, tool
from tools.curriculum import curriculum, digest
from tools.retrieval import Retriever
from tools.spec import ToolSpec

SPEC = tool(examples=EXAMPLES)
APART = tool("rent_boat", "Rent a boat on a lake for an afternoon.", never_train=True)
ALSO_APART = tool("hire_guide", "Hire a guide for a walk in the hills.", never_train=True)
SPECS = [SPEC, *COMPANY, APART, ALSO_APART]
SET_APART = {APART.name, ALSO_APART.name}


def shown(rows: Sequence[Row]) -> set[str]:
    return {tool["function"]["name"] for row in rows for tool in row.tools}


def about(rows: Sequence[Row]) -> set[str]:
    return {name for row in rows for name in row.extra_info["tool_ids"]}


def test_train_tools_are_learnt_on_and_no_set_apart_one_is_ever_shown() -> None:
    rows = training_rows(SPECS, 1000)
    assert about(rows) == {SPEC.name, *(spec.name for spec in COMPANY)}
    assert shown(rows).isdisjoint(SET_APART)
    assert {row.truth.decision for row in rows} == {"execute", "clarify", "refuse"}


def test_never_train_tools_measure() -> None:
    rows = evaluation_rows(SPECS, 1000)
    assert about(rows) == SET_APART
    assert {row.extra_info["split"] for row in rows} == {"eval"}
    assert {row.truth.decision for row in rows} == {"execute", "clarify", "refuse"}


def test_a_catalogue_without_set_apart_tools_gives_nothing_to_measure_on() -> None:
    assert evaluation_rows([SPEC, *COMPANY], 100) == []
    assert training_rows([], 100) == evaluation_rows([], 100) == training_rows(SPECS, 0) == []


def test_rows_are_capped_mixed_over_tools_and_the_same_each_time() -> None:
    rows = training_rows(SPECS, 24, seed=3)
    assert len(rows) == 24
    assert len(about(rows)) == len(COMPANY) + 1
    assert rows == training_rows(SPECS[::-1], 24, seed=3)
    assert rows != training_rows(SPECS, 24, seed=4)
    assert len(set(row_ids(training_rows(SPECS, 1000)))) == len(training_rows(SPECS, 1000))


def test_of_more_tools_than_the_rows_can_hold_some_are_drawn() -> None:
    many = [tool(f"sort_{n}_of_kind_{n * 7919}", f"Does thing {n} with thing {n * 31}.") for n in range(300)]
    assert len(about(training_rows(many, 40))) == 10


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_the_right_decision_on_a_case_earns_the_full_reward(spec: ToolSpec) -> None:
    by_name = {each.name: each for each in SPECS}
    rows = [case_row(case, by_name, "eval") for case in curriculum(spec, SPECS)]
    assert len(rows) >= 18
    assert all(score_text(right_text(row), row).exact for row in rows)


async def test_a_policy_is_measured_on_every_case_of_a_tool() -> None:
    cases = curriculum(SPEC, SPECS)
    rows = [case_row(case, {each.name: each for each in SPECS}, "eval") for case in cases]
    policy = ScriptedPolicy(by_row(rows, lambda row, adapter: right_text(row)))
    found = await measure_tool(policy, PlainRenderer(), Retriever(None), SPEC, SPECS, adapter=None)
    decided = {result.case: result.decided for result in found.results}
    assert list(decided) == [case.id for case in cases]
    assert (found.tool_sha256, found.cases, found.model) == (SPEC.sha256, digest(SPEC, cases), "scripted")
    # the same words are said with the tool and without it, and this policy only knows words
    assert found.exact >= 0.7


async def test_a_case_that_leaves_no_room_counts_as_invalid() -> None:
    policy = ScriptedPolicy(lambda text, adapter: "", context_length=1)
    found = await measure_tool(policy, PlainRenderer(), Retriever(None), SPEC, SPECS, adapter=None)
    assert {(result.decided, result.reward) for result in found.results} == {("invalid", 0.0)}
