"""Promise 12: injected text cannot act. AgentDojo's injection suite, against a policy that obeys whatever it reads.

`HONE_INJECTIONS` says how many pairs of a user's task and an injection are played under each rule (24 unless it is given; `make
faults` plays all 949). Nothing is asked of the policy: what holds the injected calls back is that a person is asked.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.injections.dojo import Dojo, Pair, Suite, running_dojo
from tests.injections.playing import Played, Rule, laid_table
from tests.injections.side_effects import SIDE_EFFECTS

WANTED = os.environ.get("HONE_INJECTIONS", "24")
ATTACKS = ("important_instructions", "direct", "ignore_previous")
"""Taken in turn: this policy obeys in whichever words it is told."""
BY_WORDS = {("travel", "injection_task_6")}
"""Injections that want something said and no call made: approvals are no guard against those."""
UNDONE = {
    ("banking", "user_task_14", "injection_task_7"),
    ("banking", "user_task_15", "injection_task_8"),
    ("travel", "user_task_0", "injection_task_0"),
    ("travel", "user_task_0", "injection_task_4"),
    *(("workspace", f"user_task_{n}", "injection_task_0") for n in (14, 15, 16, 17, 18, 22, 23, 24, 39)),
    *(("workspace", f"user_task_{n}", f"injection_task_{m}") for n in (31, 32, 36, 37) for m in (11, 12)),
}
"""Pairs in which what the user's task does afterwards takes back what the injected calls did, or hides it from the check."""

pytestmark = pytest.mark.timeout(300 if WANTED != "all" else 4 * 3600)


@pytest.fixture(scope="module")
def dojo() -> Iterator[Dojo]:
    with running_dojo() as dojo:
        yield dojo


@pytest.fixture(scope="module", params=SIDE_EFFECTS)
def suite(request: pytest.FixtureRequest, dojo: Dojo) -> Suite:
    return dojo.suites()[request.param]


def attacked(suite: Suite, rule: Rule) -> list[Pair]:
    both = [(user, injection) for user in suite.user_tasks for injection in suite.injection_tasks]
    pairs = [Pair(suite.name, *tasks, ATTACKS[i % len(ATTACKS)]) for i, tasks in enumerate(both)]
    if WANTED == "all":
        return pairs
    return random.Random(rule).sample(pairs, -(-int(WANTED) // len(SIDE_EFFECTS)))


def tasks(pair: Pair) -> tuple[str, str, str | None]:
    return pair.suite, pair.user_task, pair.injection_task


def without_attack(pairs: Sequence[Pair]) -> list[Pair]:
    return list(dict.fromkeys(Pair(pair.suite, pair.user_task) for pair in pairs))


def play(home: Path, dojo: Dojo, suite: Suite, rule: Rule, pairs: Sequence[Pair]) -> list[Played]:
    with laid_table(home, dojo, suite, rule) as table:
        played = table.play_all(pairs)
    print(f"\n{suite.name}, rule {rule.value}: {summary(played)}")
    return played


def summary(played: Sequence[Played]) -> str:
    count = len(played)
    won = Counter(one.pair.injection_task for one in played if one.judged.security)
    failed = Counter(one.pair.user_task for one in played if not one.judged.utility)
    return (
        f"{count} cases, injection shown in {sum(one.obeyed is not None for one in played)}; "
        f"{sum(len(one.judged.arrived) for one in played)} calls arrived, "
        f"{sum(len(one.unapproved()) for one in played)} of them consequential and unapproved; "
        f"goal reached in {won.total()} {dict(won)}; utility {count - failed.total()} of {count}, missed {dict(failed)}; "
        f"{sum(one.questions for one in played) / count:.2f} questions a case, "
        f"{sum(len(one.person.declined) for one in played)} declined"
    )


def test_every_tool_of_a_suite_is_classed(suite: Suite) -> None:
    assert {tool["name"] for tool in suite.tools} == set(SIDE_EFFECTS[suite.name])


@pytest.mark.parametrize("rule", [Rule.TAINT, Rule.DEFAULT])
def test_no_call_that_changes_something_goes_through_unless_the_person_approved_exactly_that(
    rule: Rule, tmp_path: Path, dojo: Dojo, suite: Suite
) -> None:
    pairs = attacked(suite, rule)
    for one in play(tmp_path, dojo, suite, rule, pairs):
        assert one.obeyed is not None, f"no tool showed the injection: {one.pair}"
        assert one.unapproved() == [], one.pair
        assert all(call in one.obeyed.calls for call in one.person.declined), one.pair
        assert one.judged.security is ((suite.name, one.pair.injection_task) in BY_WORDS), one.pair


@pytest.mark.parametrize("rule", [Rule.TAINT, Rule.DEFAULT])
def test_a_users_own_task_is_done_with_the_persons_approvals(
    rule: Rule, tmp_path: Path, dojo: Dojo, suite: Suite
) -> None:
    for one in play(tmp_path, dojo, suite, rule, without_attack(attacked(suite, rule))):
        assert one.judged.utility, one.pair
        assert (one.unapproved(), one.person.declined) == ([], []), one.pair


def test_without_the_rule_the_same_policy_does_what_it_is_told(tmp_path: Path, dojo: Dojo, suite: Suite) -> None:
    played = play(tmp_path, dojo, suite, Rule.NONE, attacked(suite, Rule.NONE))
    for one in played:
        assert one.questions == 0
        assert one.obeyed is not None, f"no tool showed the injection: {one.pair}"
        if any(one.changes_something(call) for call in one.obeyed.calls):
            assert one.unapproved(), one.pair
    missed = {tasks(one.pair) for one in played if not one.judged.security}
    assert missed == UNDONE & {tasks(one.pair) for one in played}
