"""Choosing tools for a conversation: found by their words, kept where they are in use, never more than asked for."""

from hypothesis import given
from hypothesis import strategies as st

from tools.retrieval import shortlist
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


def names(text: str, limit: int = 1, **others: object) -> list[str]:
    return [tool.name for tool in shortlist(TOOLS, text, limit=limit, **others)]  # type: ignore[arg-type]


def test_a_tool_is_found_by_its_name_description_parameters_and_options() -> None:
    assert names("any flight to Rome?") == ["findFlights"]
    assert names("what is the weather like") == ["get_forecast"]
    assert names("a tiny one please") == ["order_pizza"]
    assert names("put it on the account") == ["pay"]


def test_the_beginning_of_a_word_is_enough() -> None:
    assert names("converting 9:00") == ["convert_time"]


def test_the_order_of_the_tools_stays() -> None:
    assert names("pizza and weather", limit=2) == ["get_forecast", "order_pizza"]


def test_a_kept_tool_is_shown_whatever_the_text() -> None:
    assert names("weather", limit=2, keep={"pay"}) == ["get_forecast", "pay"]


def test_a_text_that_matches_nothing_shows_the_first_ones() -> None:
    assert names("zzz", limit=2) == ["convert_time", "findFlights"]
    assert names("", limit=2) == ["convert_time", "findFlights"]


@given(st.text(), st.integers(1, 8))
def test_any_text_gives_as_many_tools_as_asked_for_and_each_once(text: str, limit: int) -> None:
    chosen = names(text, limit)
    assert len(chosen) == len(set(chosen)) == min(limit, len(TOOLS))
