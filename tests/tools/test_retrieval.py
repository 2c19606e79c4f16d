"""Choosing tools for a conversation: found by words and by meaning, best first, kept where they are in use."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.embedding import MiniLm, Vectors
from tools.kept_vectors import KeptVectors
from tools.retrieval import Retriever
from tools.spec import ClientBackend, ToolSpec


def spec(name: str, description: str = "", **properties: dict[str, object]) -> ToolSpec:
    parameters = {"type": "object", "properties": properties}
    return ToolSpec(name=name, description=description, parameters=parameters, backend=ClientBackend())


TOOLS = [
    spec("convert_time", "Convert a time between two zones", zone={"type": "string"}),
    spec("findFlights", "Search connections", origin={"type": "string"}),
    spec("get_forecast", "Weather of a city", city={"type": "string"}),
    spec("order_pizza", "Bring food", size={"type": "string", "enum": ["huge", "tiny"]}),
    spec("pay", "Settle an invoice", iban={"type": "string", "description": "the payee's account"}),
]
BY_WORDS = Retriever(None)
BY_MEANING = Retriever(MiniLm())
BOTH = pytest.mark.parametrize("retriever", [BY_WORDS, BY_MEANING], ids=["words", "meaning"])


def names(retriever: Retriever, text: str, limit: int = 1, keep: Sequence[str] = ()) -> list[str]:
    return [tool.name for tool in retriever.shortlist(TOOLS, text, limit=limit, keep=keep)]


@BOTH
def test_a_tool_is_found_by_its_name_description_parameters_and_options(retriever: Retriever) -> None:
    assert names(retriever, "any flight to Rome?") == ["findFlights"]
    assert names(retriever, "what is the weather like") == ["get_forecast"]
    assert names(retriever, "a tiny one please") == ["order_pizza"]
    assert names(retriever, "put it on the account") == ["pay"]


@BOTH
def test_the_best_tool_stands_first(retriever: Retriever) -> None:
    assert names(retriever, "pizza, and food for the flight", limit=2) == ["order_pizza", "findFlights"]
    assert names(retriever, "weather", limit=0)[0] == "get_forecast"


@BOTH
def test_a_kept_tool_is_shown_whatever_the_text(retriever: Retriever) -> None:
    assert names(retriever, "weather", limit=2, keep=["pay"]) == ["get_forecast", "pay"]


@BOTH
@settings(deadline=None)
@given(st.text(), st.integers(0, 8))
def test_any_text_gives_as_many_tools_as_asked_for_and_each_once(retriever: Retriever, text: str, limit: int) -> None:
    chosen = names(retriever, text, limit)
    assert len(chosen) == len(set(chosen)) == min(limit or len(TOOLS), len(TOOLS))


def test_the_beginning_of_a_word_is_enough() -> None:
    assert names(BY_WORDS, "converting 9:00") == ["convert_time"]


def test_without_a_word_in_common_the_order_stays_and_meaning_still_finds_the_tool() -> None:
    assert names(BY_WORDS, "I'm hungry", limit=2) == ["convert_time", "findFlights"]
    assert names(BY_MEANING, "I'm hungry") == ["order_pizza"]
    assert names(BY_MEANING, "is it going to rain tomorrow?") == ["get_forecast"]
    assert names(BY_MEANING, "I owe them 30 euros") == ["pay"]


def test_a_tool_is_scored_alike_in_any_company() -> None:
    for text in ("I'm hungry", "will it rain"):
        full = names(BY_MEANING, text, limit=0)
        few = [tool.name for tool in BY_MEANING.shortlist(TOOLS[2:4], text)]
        assert few == [name for name in full if name in few]


def test_schemas_out_of_the_ordinary_are_described_as_far_as_they_go() -> None:
    odd = ToolSpec(
        name="odd", description="", parameters={"properties": {"a": True, "b": {"enum": 3}}}, backend=ClientBackend()
    )
    assert BY_WORDS.shortlist([odd, TOOLS[0]], "b")[0].name == "odd"


@BOTH
def test_each_sentence_finds_its_tool(retriever: Retriever) -> None:
    asked = "Thanks so far! Search a connection from Oslo to Rome. Then settle the invoice of the hotel."
    assert set(names(retriever, asked, limit=2)) == {"findFlights", "pay"}


@BOTH
def test_kept_tools_leave_half_of_the_places_to_what_is_asked_now(retriever: Retriever) -> None:
    kept = ["pay", "order_pizza", "get_forecast"]
    found = [tool.name for tool in retriever.shortlist(TOOLS, "any flight to Rome?", limit=4, keep=kept)]
    assert {"pay", "order_pizza", "findFlights"} <= set(found)
    assert len(found) == 4


def test_a_long_text_is_searched_in_full() -> None:
    asked = "Any flight to Rome? " + " ".join(f"I was born in the year {n}." for n in range(1900, 1960))
    assert names(BY_WORDS, asked) == ["findFlights"]


class CountingEmbedder:
    """Vectors by the letters of a text; waits where it is told to."""

    name = "letters"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def embed(self, texts: Sequence[str]) -> Vectors:
        if len(texts) > 1:
            assert self.may_go_on.wait(60)
        self.texts += texts
        counts = np.array([[text.lower().count(chr(97 + n)) + 0.01 for n in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


MANY = [spec(f"tool_{a}{b}", f"{a * 3}{b * 3} {chr(ord(a) + 1)}") for a in "abcdefgh" for b in "ijklmnopqrstuvwxyz"]
"""More than a search computes vectors for."""


def test_while_vectors_are_missing_tools_are_found_by_words_and_later_by_meaning(tmp_path: Path) -> None:
    embedder = CountingEmbedder()
    retriever = Retriever(embedder, kept=KeptVectors(tmp_path / "v.db", "letters"))
    specs = [*MANY, spec("wanted", "qqq zzz")]
    embedder.may_go_on.clear()
    retriever.prepare(specs)  # comes back although no vector can be computed yet
    assert retriever.shortlist(specs, "gggrrr", limit=1)[0].name == "tool_gr"
    assert retriever.shortlist(specs, "zqzqzq", limit=1)[0].name != "wanted"
    embedder.may_go_on.set()
    retriever.finish()
    assert retriever.shortlist(specs, "zqzqzq", limit=1)[0].name == "wanted"
    retriever.close()


def test_after_a_restart_no_vector_of_a_tool_is_computed_again(tmp_path: Path) -> None:
    first, second = CountingEmbedder(), CountingEmbedder()
    for embedder in (first, second):
        retriever = Retriever(embedder, kept=KeptVectors(tmp_path / "v.db", "letters"))
        retriever.prepare(MANY)
        retriever.finish()
        assert retriever.shortlist(MANY, "ggrr", limit=1)[0].name == "tool_gr"
        retriever.close()
    assert len(first.texts) > len(MANY)
    assert second.texts == ["ggrr"]


@pytest.mark.parametrize("embedder", [None, CountingEmbedder()], ids=["words", "meaning"])
def test_an_index_that_followed_changes_finds_what_a_new_one_finds(embedder: CountingEmbedder | None) -> None:
    specs = [
        spec(f"{word}_{n}", f"{word} number {n}") for n in range(60) for word in ("apple", "pear", "plum", "fig", "nut")
    ]
    following = Retriever(embedder)
    for change in range(8):
        specs = [*specs[:change], *specs[change + 20 :], *(spec(f"new_{change}_{n}", "apple tart") for n in range(20))]
        for text in ("a fig of 7", "tart with 12 nuts", "pears"):
            found = [tool.name for tool in following.shortlist(specs, text, limit=8)]
            assert found == [tool.name for tool in Retriever(embedder).shortlist(specs, text, limit=8)]


def test_tools_that_fit_alike_stand_as_they_were_given() -> None:
    alike = [spec(f"same_{n}", "the same words") for n in range(300)]
    found = [tool.name for tool in BY_WORDS.shortlist(alike, "the same words", limit=5)]
    assert found == [f"same_{n}" for n in range(5)]
    assert found == [tool.name for tool in BY_WORDS.shortlist(alike, "the same words", limit=5)]
