"""The demo's users: what they ask, how they react, and that held-out requests stay apart."""

import io
from pathlib import Path

from rich.console import Console

import hone.demo
from hone.demo.figures import show
from hone.demo.play import is_satisfied, react
from hone.demo.scenes import operations, read_scenes
from hone.demo.traffic import TRAFFIC_FILE, Visit, draw_visits, read_traffic
from hone.demo_command import visit_row
from learner.evaluation import evaluate
from runtime.verify.rules import read_rules
from tests.learner.case_rows import TOOLS, PlainRenderer, ScriptedPolicy, by_row, right_text

NEVER = {name for name, (_, never_train) in operations().items() if never_train}
VISIT = Visit(
    id="v",
    split="live",
    wants="clarify",
    opening="book a table",
    tool="reserve_table",
    arguments={"guests": 3},
    missing=("guests",),
    replies={"guests": "3"},
    restate="reserve a table with guests 3",
)


def said(decision: str, **more: object) -> dict[str, object]:
    return {"decision": decision, "steps": [{"decision": decision, **more}]}


def test_the_committed_traffic_is_what_the_scenes_give() -> None:
    assert read_traffic(TRAFFIC_FILE) == list(draw_visits())


def test_no_two_scenes_name_a_tool_alike() -> None:
    names = [tool.tool for scene in read_scenes() for tool in scene.tools]
    assert len(set(names)) == len(names)


def test_no_request_is_met_on_two_sides() -> None:
    visits = read_traffic()
    assert len({v.opening for v in visits}) == len(visits)
    assert all((v.tool in NEVER) == (v.split != "live") for v in visits if v.tool)
    assert all(NEVER.isdisjoint(v.shown) for v in visits if v.split == "live")


def test_enough_held_out_requests_of_each_class() -> None:
    held_out = [v for v in read_traffic() if v.split == "held_out"]
    assert len(held_out) >= 300
    assert min(sum(v.wants == kind for v in held_out) for kind in ("execute", "clarify", "refuse")) >= 40


def test_a_rule_of_the_house_matches_what_it_forbids_and_nothing_that_is_to_be_served() -> None:
    rules = read_rules(Path(hone.demo.__file__).with_name("rules.json"))
    for visit in read_traffic():
        proven = [rule.category.value for rule in rules if rule.matches(visit.opening)][:1]
        assert proven in ([], [visit.category]), visit.opening
        assert proven or not visit.forbidden, visit.opening
        assert not any(rule.matches(text) for rule in rules for text in (visit.restate, *visit.replies.values()))


def test_what_the_house_forbids_is_asked_of_a_tool_that_is_at_hand() -> None:
    forbidden = [visit for visit in read_traffic() if visit.forbidden]
    asked = {says: tool for scene in read_scenes() for tool in scene.tools for says in tool.forbidden}
    assert all(asked[visit.opening].tool in visit.shown for visit in forbidden)
    assert all(asked[visit.opening].split == visit.split for visit in forbidden)
    assert min(sum(visit.split == split for visit in forbidden) for split in ("gate", "held_out")) >= 60


async def test_requests_that_a_rule_forbids_have_a_line_of_their_own_in_the_table() -> None:
    schemas = {tool["function"]["name"]: tool for tool in TOOLS}
    forbidden = Visit(
        id="f", split="held_out", wants="refuse", opening="pay cash", category="not_permitted", shown=("weather",)
    )
    absent = forbidden.model_copy(update={"id": "a", "opening": "fly", "category": "out_of_scope"})
    rows = [visit_row(visit, schemas) for visit in (forbidden, absent)]
    policy = ScriptedPolicy(by_row(rows, lambda row, _: right_text(row) if row is rows[1] else "Done."))
    report = await evaluate(policy, PlainRenderer(), rows)
    out = Console(record=True, width=200, file=io.StringIO())
    told = {
        "n_eval": 2,
        "baselines": {},
        "adapter_sha256": None,
        "outcome": "",
        "policy_before": "",
        "policy_after": "",
    }
    show(out, told, report, report)
    lines = {line.split("│")[1].strip(): line for line in out.export_text().splitlines() if line.startswith("│")}
    assert "0.000 [" in lines["house rules"]
    assert "1.000 [" in lines["all else"]
    assert "0.500 [" in lines["overall"]


def test_a_user_answers_what_is_asked() -> None:
    told = said("clarify") | {"missing": [{"tool": "reserve_table", "parameter": "guests"}]}
    assert react(VISIT, told, 0) == "3"


def test_a_user_objects_to_a_wrong_call_and_repeats_after_a_refusal() -> None:
    wrong = said("answer", calls=[{"tool": "reserve_table", "arguments": {"guests": 4}}])
    assert react(VISIT, wrong, 0) == "No, I meant: reserve a table with guests 3"
    assert react(VISIT, said("refuse"), 0) == VISIT.restate
    assert react(VISIT, said("refuse"), 2) is None


def test_a_user_is_content_with_the_call_that_was_meant() -> None:
    right = said("answer", calls=[{"tool": "reserve_table", "arguments": {"guests": 3}}])
    assert is_satisfied(VISIT, right)
    assert react(VISIT, right, 0) is None
