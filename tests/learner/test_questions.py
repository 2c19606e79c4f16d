"""Requests about anything, that an agent with a few tools declines."""

import random
import re

import pytest

from hone.demo.traffic import read_traffic
from learner.demonstration import decide
from learner.synth.questions import asked_elsewhere, questions
from tests.learner.case_rows import row, tool
from tools.likeness import content_words, share

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


def test_no_question_is_nearly_a_sentence_of_the_demo() -> None:
    said = {visit.opening: content_words(visit.opening) for visit in read_traffic()}
    near = [
        (line, opening)
        for line in (*questions("train"), *questions("eval"))
        for opening, words in said.items()
        if share(words, content_words(line)) > 0.5
    ]
    assert len(said) > 1000
    assert not near


def test_questions_of_the_evaluation_are_never_trained_on() -> None:
    train, held = set(questions("train")), set(questions("eval"))
    assert train.isdisjoint(held)
    assert len(train) > 1000
    assert len(held) > 100
