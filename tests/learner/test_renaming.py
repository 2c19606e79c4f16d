"""Families whose tools are called otherwise than people speak of them."""

import json
import random
import re
from collections.abc import Iterator

from learner.synth.parameters import split_name
from learner.synth.renaming import near_words, otherwise_named
from learner.synth.scenarios import Family, invent_family
from learner.synth.situations import Situation, question_about
from runtime.decision import Clarify, Execute
from tools.json_schema import argument_errors

SEEDS = range(60)


def pairs() -> Iterator[tuple[Family, Family]]:
    """Families, and each under other names."""
    for seed in SEEDS:
        family = invent_family(random.Random(seed), "train", situations=12)
        yield family, otherwise_named(random.Random(seed), family)


def named(family: Family) -> list[str]:
    return [schema["function"]["name"] for schema in family.schemas]


def test_most_families_are_called_otherwise() -> None:
    changed = [before.schemas != after.schemas for before, after in pairs()]
    assert sum(changed) > 0.6 * len(changed)


def test_users_say_what_they_said() -> None:
    def said(family: Family) -> list[str]:
        return [m["content"] for s in family.situations for m in s.messages if m["role"] == "user"]

    assert all(said(before) == said(after) for before, after in pairs())


def test_decisions_name_what_is_shown() -> None:
    for _, family in pairs():
        properties = {
            schema["function"]["name"]: schema["function"]["parameters"].get("properties", {})
            for schema in family.schemas
        }
        for situation in family.situations:
            decision = situation.decision
            if isinstance(decision, Execute):
                for call in decision.calls:
                    assert call.arguments.keys() <= properties[call.name].keys()
            if isinstance(decision, Clarify):
                assert all(lacks.parameter in properties[lacks.tool] for lacks in decision.missing)


def test_calls_have_the_same_values_and_fit_the_schemas_as_they_did() -> None:
    def values(situation: Situation) -> str:
        decision = situation.decision
        calls = decision.calls if isinstance(decision, Execute) else ()
        return json.dumps([list(call.arguments.values()) for call in calls if not _has_objects(call.arguments)])

    def errors(family: Family) -> int:
        shown = {schema["function"]["name"]: schema["function"]["parameters"] for schema in family.schemas}
        decisions = [s.decision for s in family.situations if isinstance(s.decision, Execute)]
        return sum(len(argument_errors(shown[c.name], c.arguments)) for d in decisions for c in d.calls)

    for before, after in pairs():
        assert [values(s) for s in before.situations] == [values(s) for s in after.situations]
        assert errors(before) == errors(after)


def _has_objects(arguments: dict) -> bool:
    return "{" in json.dumps(list(arguments.values()))


def test_calls_in_a_conversation_and_their_results_go_by_the_same_names() -> None:
    seen = 0
    for before, after in pairs():
        if before.schemas == after.schemas:
            continue
        for situation in after.situations:
            for message in situation.messages:
                called = [call["function"]["name"] for call in message.get("tool_calls", ())]
                called += [message["name"]] if "name" in message else []
                assert set(called) <= set(named(after))
                seen += len(called)
    assert seen > 50


def test_a_question_asks_by_the_new_names() -> None:
    decisions = [
        (was.decision, now.decision)
        for before, after in pairs()
        for was, now in zip(before.situations, after.situations, strict=True)
    ]
    asked = [(was, now) for was, now in decisions if isinstance(was, Clarify) and isinstance(now, Clarify)]
    assert sum(was.missing != now.missing for was, now in asked) > 10
    assert all(now.question == question_about([split_name(m.parameter) for m in now.missing]) for _, now in asked)


def test_no_new_word_is_said_by_anybody() -> None:
    def words(*texts: str) -> set[str]:
        return {word.lower() for text in texts for word in re.findall(r"[A-Z]?[a-z]+", text)}

    for before, after in pairs():
        new = words(json.dumps(after.schemas)) - words(json.dumps(before.schemas))
        assert not new & words(*(str(m["content"]) for s in before.situations for m in s.messages))


def test_words_that_tell_things_apart_are_not_exchanged() -> None:
    near = near_words()
    for one, other in [
        ("start", "end"),
        ("monday", "tuesday"),
        ("buy", "sell"),
        ("red", "blue"),
        ("north", "south"),
        ("min", "max"),
        ("safe", "dangerous"),
        ("clean", "dirty"),
        ("should", "shouldn"),
        ("was", "wasn"),
    ]:
        assert other not in near.get(one, ())
        assert one not in near.get(other, ())
    assert "movie" in near["film"]
