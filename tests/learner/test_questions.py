"""Requests about anything, that an agent with a few tools declines."""

import random
import re

import pytest

from learner.demonstration import decide
from learner.synth.invention import InventedTool, Phrases
from learner.synth.parameters import STRING, Parameter, place
from learner.synth.questions import asked_beside, asked_elsewhere, questions
from learner.synth.scenarios import invent_family
from tests.learner.case_rows import row, tool
from tests.learner.near_demo import near_the_demo
from tools.likeness import content_words

SEEDS = range(200)


def about(name: str, description: str = "") -> dict:
    made = tool(name, ["place"], place={"type": "string"})
    made["function"]["description"] = description
    return made


def test_a_question_is_declined_as_a_request_for_a_tool_that_is_missing_is() -> None:
    shown = [about("book_barge"), about("count_anvils")]
    declined = decide(row("any", tools=shown, decision="refuse", category="out_of_scope"))
    for seed in SEEDS:
        made = asked_elsewhere(random.Random(seed), "train", shown)
        assert made is not None
        assert made.decision == declined
        assert not re.search(r"[{}]", made.messages[0]["content"])


def test_a_question_shares_no_word_with_a_tool_by_name_or_description() -> None:
    shown = [
        about("draw_spreadsheets"),
        about("x_17", "Says when a marathon begins, and where landlords look through telescopes."),
    ]
    subjects = {"spreadsheet", "marathon", "landlord", "telescope"}  # no slot is ever filled with them
    said = [asked_elsewhere(random.Random(seed), "train", shown) for seed in SEEDS]
    words = [content_words(made.messages[0]["content"]) for made in said if made]
    assert len(words) > 150
    assert not any(found & subjects for found in words)
    assert any(subjects & content_words(line) for line in questions("train"))


@pytest.mark.parametrize("name", ["search_web", "lookUpWiki", "ask_question", "add_reminder"])
def test_no_question_is_declined_where_a_tool_serves_any_subject(name: str) -> None:
    assert asked_elsewhere(random.Random(1), "train", [about("book_barge"), about(name)]) is None


def barges(*beside: str) -> InventedTool:
    parameter = Parameter("harbour", STRING, True, ("{v}",), place)
    phrases = Phrases(("book a barge in {harbour}",), ("book a barge",), beside)
    return InventedTool("book_barge", "book", "barge", "Books a barge.", (parameter,), phrases=phrases)


def test_a_request_about_the_subject_of_a_tool_that_does_not_serve_it_is_declined() -> None:
    declined = decide(row("any", tools=[about("count_anvils")], decision="refuse", category="out_of_scope"))
    tool = barges("how long is the longest barge in {harbour}")
    for seed in SEEDS:
        made = asked_beside(random.Random(seed), tool, [about("count_anvils")])
        assert made is not None
        assert made.decision == declined
        assert "longest barge in" in made.messages[0]["content"]
        assert "{" not in made.messages[0]["content"]


@pytest.mark.parametrize("other", [about("measure", "Measures how long a barge is."), about("search_web")])
def test_it_is_not_declined_where_another_tool_might_serve_it(other: dict) -> None:
    tool = barges("how long is the longest barge in {harbour}")
    assert asked_beside(random.Random(1), tool, [about("count_anvils"), other]) is None


def test_some_of_what_families_decline_is_about_the_subject_of_their_own_tools() -> None:
    said = 0
    for seed in range(40):
        family = invent_family(random.Random(seed), "train", tools=(1, 3), weights={"absent": 1})
        beside = [text for made in family.tools if made.phrases for text in made.phrases.beside]
        told = [re.compile(re.sub(r"\\{\w+\\}", ".+", re.escape(text)), re.IGNORECASE) for text in beside]
        said += sum(any(t.search(made.messages[0]["content"]) for t in told) for made in family.situations)
    assert said > 20


def test_no_question_is_nearly_a_sentence_of_the_demo() -> None:
    assert not near_the_demo((*questions("train"), *questions("eval")))


def test_questions_of_the_evaluation_are_never_trained_on() -> None:
    train, held = set(questions("train")), set(questions("eval"))
    assert train.isdisjoint(held)
    assert len(train) > 1000
    assert len(held) > 100
