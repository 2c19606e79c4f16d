"""The replay: requests of every class, for tools that no trace is about."""

from collections import Counter

import pytest

from learner.demonstration import demonstrate
from learner.replay import OTHERS, replay_rows
from learner.rewards import score_text
from learner.synth.lexicon import side_of


def test_a_replay_is_of_every_class_and_the_same_for_the_same_seed() -> None:
    rows = replay_rows(40, 3)
    assert Counter(row.truth.decision for row in rows) == {"execute": 16, "clarify": 16, "refuse": 8}
    assert rows == replay_rows(40, 3) != replay_rows(40, 4)
    assert replay_rows(0, 3) == []


def test_each_can_be_imitated_is_met_once_and_is_about_no_tool_that_is_kept_for_evaluation() -> None:
    rows = replay_rows(900, 0)
    assert len({row.extra_info["id"] for row in rows}) == 900
    for row in rows:
        assert {side_of(name) for name in row.extra_info["tool_ids"]} == {"train"}
        shown = {tool["function"]["name"] for tool in row.tools}
        assert shown >= set(row.extra_info["tool_ids"])
        assert len(shown - set(row.extra_info["tool_ids"])) <= OTHERS
        text = demonstrate(row)
        assert text is not None
        assert score_text(text, row).reward == pytest.approx(1)


def test_more_than_there_are_is_all_of_them() -> None:
    rows = replay_rows(10**6, 0)
    assert len(rows) == len({row.extra_info["id"] for row in rows}) > 10_000
