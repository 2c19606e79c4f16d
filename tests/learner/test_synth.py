"""Generated decisions: reproducible, right by their own rules, and apart between training and evaluation."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from learner.replay import replay_rows
from learner.synth.lexicon import NOUNS_BY_SIDE, side_of
from learner.synth.rows import generate_rows
from learner.synth.scenarios import invent_family
from runtime.decision import Execute, parse_decision, write_decision
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


def test_a_replay_is_questions_and_refusals_and_the_same_for_the_same_seed() -> None:
    rows = replay_rows(40, 3)
    assert Counter(row.truth.decision for row in rows) == {"clarify": 24, "refuse": 16}
    assert rows == replay_rows(40, 3) != replay_rows(40, 4)
    assert replay_rows(0, 3) == []
