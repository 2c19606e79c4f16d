"""Conversations that were written turn by turn."""

import json
import random

from learner.synth.lexicon import side_of
from learner.synth.situations import OUT_OF_SCOPE_REASON
from learner.synth.talks import Talk
from runtime.decision import Clarify, Execute, Refuse
from tests.learner.case_rows import tool

ORDERS = {"find_gig": ["artist", "city"], "buy_seats": ["gig_id", "seats"]}
TOOLS = tuple(tool(name, parameters) for name, parameters in ORDERS.items())
FIND = {"name": "find_gig", "arguments": {"city": "Porto", "artist": "Stromae"}}
BUY = {"name": "buy_seats", "arguments": {"seats": "two", "gig_id": "ST-44"}}
WRITTEN = [
    "Any music in Porto?",
    {"ask": {"tool": "find_gig", "missing": ["artist"]}, "say": "Gladly. Whose?"},
    "Stromae's",
    {"calls": [FIND], "results": [{"gig_id": "ST-44", "price": 58}], "say": "On 12 June, for 58 euros."},
    "Is there a cloakroom?",
    {"decline": True, "say": "I could not say."},
    "two seats then",
    {"calls": [BUY], "results": [{"order": 7}], "say": "They are yours."},
]


def talk() -> Talk:
    return Talk.of("gigs", WRITTEN, ORDERS)


def test_each_of_the_assistants_turns_is_a_row_that_begins_where_the_one_before_ended() -> None:
    rows = talk().rows(TOOLS)
    assert [row.truth.decision for row in rows] == ["clarify", "execute", "refuse", "execute"]
    assert [len(row.prompt) for row in rows] == [1, 3, 7, 9]
    assert rows[0].truth.missing == ({"tool": "find_gig", "parameter": "artist"},)
    assert [call.arguments for call in rows[3].truth.tool_calls] == [{"gig_id": "ST-44", "seats": "two"}]
    said = [message["content"] for message in rows[3].prompt]
    assert said[:3] == ["Any music in Porto?", "Gladly. Whose?", "Stromae's"]
    assert json.loads(said[4]) == {"gig_id": "ST-44", "price": 58}
    assert len({row.extra_info["id"] for row in rows}) == 4


def test_arguments_stand_in_the_order_of_the_signature() -> None:
    called = talk().rows(TOOLS)[2].prompt[3]["tool_calls"][0]["function"]
    assert list(called["arguments"]) == ["artist", "city"]


def test_it_is_decided_at_any_turn_and_what_was_called_before_is_taught() -> None:
    rng, decided, worded = random.Random(5), set(), set()
    for _ in range(60):
        situation = talk().situation(rng, TOOLS)
        decided.add(type(situation.decision))
        assert situation.messages[-1]["role"] == "user"
        assert [at for at, m in enumerate(situation.messages) if "tool_calls" in m] == list(situation.taught)
        worded.update(message["content"] for message in situation.messages if message["role"] == "assistant")
    assert decided == {Clarify, Execute, Refuse}
    as_written = {"Gladly. Whose?", "On 12 June, for 58 euros.", "I could not say."}
    in_its_own = {"What artist should I use?", "gig_id: ST-44, price: 58.", OUT_OF_SCOPE_REASON}
    assert as_written | in_its_own == worded - {""}


def test_one_about_tools_of_both_sides_is_on_neither() -> None:
    train, held = (
        next(n for n in (f"find_{i}" for i in range(99)) if side_of(n) == side) for side in ("train", "eval")
    )
    calls = [{"name": name, "arguments": {"artist": "Stromae"}} for name in (train, held)]
    turns = ["Stromae?", {"calls": calls, "results": [{"a": 1}, {"b": 2}], "say": "Here."}]
    both = Talk.of("both", turns, {train: ["artist"], held: ["artist"]})
    assert both.about == tuple(sorted((train, held)))
    assert both.side is None
