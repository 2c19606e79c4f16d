"""What a turn finds of the catalogue: kept as long as nothing changes, and never behind what another process has done."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from runtime.database import open_database
from tests.runtime.agent_parts import tool
from tools.catalogue import Catalogue
from tools.holds import Holds
from tools.python_tools import PythonTools
from tools.retrieval import Retriever
from tools.runnable import RunnableTools
from tools.spec import PythonBackend


@pytest.fixture
def others(engine: Engine) -> Iterator[Engine]:
    """Another process's way to the same database."""
    opened = open_database(engine.url.render_as_string(hide_password=False))
    yield opened
    opened.dispose()


def names(toolbox: RunnableTools) -> list[str]:
    return [spec.name for spec in toolbox.list()]


def test_the_tools_are_the_same_object_until_something_changes(engine: Engine) -> None:
    catalogue = Catalogue(engine)
    catalogue.add_all([tool("a"), tool("b")])
    toolbox = RunnableTools(catalogue, PythonTools())
    first = toolbox.list()
    assert toolbox.list() is first
    catalogue.add(tool("c"))
    second = toolbox.list()
    assert [spec.name for spec in second] == ["a", "b", "c"]
    assert second[0] is first[0]  # what stayed was not read again


def test_what_another_process_does_is_seen_by_the_next_turn(engine: Engine, others: Engine) -> None:
    toolbox, theirs, holds = RunnableTools(Catalogue(engine), PythonTools()), Catalogue(others), Holds(others)
    assert names(toolbox) == []
    theirs.add_all([tool("a"), tool("b")])
    assert names(toolbox) == ["a", "b"]
    theirs.remove("a")
    assert names(toolbox) == ["b"]
    theirs.add(tool("a"))  # the version of before is active again
    assert names(toolbox) == ["a", "b"]
    theirs.add(tool("b", {"type": "object"}), replace=True)
    assert [spec.parameters for spec in toolbox.list() if spec.name == "b"] == [{"type": "object"}]
    holds.disable("b")
    assert names(toolbox) == ["a"]
    holds.enable("b")
    holds.disable("a")
    assert names(toolbox) == ["b"]
    others.dispose()


def test_a_change_that_was_rolled_back_changes_nothing(engine: Engine) -> None:
    catalogue = Catalogue(engine)
    catalogue.add(tool("a"))
    before = catalogue.usable()
    with pytest.raises(Exception, match="'a' is registered"):
        catalogue.add_all([tool("b"), tool("a")])
    assert catalogue.usable() is before


def test_functions_of_other_programs_are_left_out(engine: Engine) -> None:
    catalogue = Catalogue(engine)
    catalogue.add_all([tool("a"), tool("theirs", backend=PythonBackend(function="theirs"))])
    assert names(RunnableTools(catalogue, PythonTools())) == ["a"]


def test_a_new_tool_of_another_process_is_found_and_a_held_one_is_not(engine: Engine, others: Engine) -> None:
    toolbox, retriever = RunnableTools(Catalogue(engine), PythonTools()), Retriever(None)
    theirs = Catalogue(others)
    theirs.add_all([tool(f"tool_{n}") for n in range(300)])
    assert "brew_coffee" not in [s.name for s in retriever.shortlist(toolbox.list(), "brew a coffee", limit=3)]
    theirs.add(tool("brew_coffee"))
    assert retriever.shortlist(toolbox.list(), "brew a coffee", limit=3)[0].name == "brew_coffee"
    Holds(others).disable("brew_coffee")
    assert "brew_coffee" not in [s.name for s in retriever.shortlist(toolbox.list(), "brew a coffee", limit=3)]
    others.dispose()
