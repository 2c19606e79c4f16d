"""Choosing tools for a conversation: found by words and by meaning, best first, kept where they are in use."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.embedding import MiniLm
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


def names(retriever: Retriever, text: str, limit: int = 1, keep: set[str] | None = None) -> list[str]:
    return [tool.name for tool in retriever.shortlist(TOOLS, text, limit=limit, keep=keep or ())]


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
    assert names(retriever, "weather", limit=2, keep={"pay"}) == ["get_forecast", "pay"]


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
