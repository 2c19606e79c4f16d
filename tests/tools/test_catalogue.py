from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine

from tools.catalogue import Catalogue, ToolVersion
from tools.errors import BadToolSpec, DuplicateTool, UnknownTool
from tools.spec import ClientBackend, HttpBackend, ToolSpec
from tools.tables import metadata

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def catalogue(engine: Engine) -> Catalogue:
    return Catalogue(engine, now=lambda: NOON)


def spec(name: str = "weather", **changes: Any) -> ToolSpec:
    given: dict[str, Any] = {"parameters": {"type": "object"}, "backend": HttpBackend(url="https://example.com/")}
    return ToolSpec(name=name, **(given | changes))


def test_a_tool_comes_back_as_it_was_registered(catalogue: Catalogue) -> None:
    added = catalogue.add(spec(description="Tell the weather.", timeout_s=3, never_train=True))
    assert catalogue.get("weather") == added
    assert catalogue.versions("weather") == [ToolVersion(added, 1, True, NOON)]


def test_tools_are_listed_by_name(catalogue: Catalogue) -> None:
    for name in ("c", "a", "b"):
        catalogue.add(spec(name))
    assert [tool.name for tool in catalogue.list()] == ["a", "b", "c"]


def test_a_taken_name_is_refused(catalogue: Catalogue) -> None:
    catalogue.add(spec())
    with pytest.raises(DuplicateTool, match=r"'weather' is registered \(version 1\); replace it"):
        catalogue.add(spec(description="other"))
    assert catalogue.get("weather").description == ""


def test_a_changed_definition_makes_a_new_version(catalogue: Catalogue) -> None:
    first = catalogue.add(spec())
    second = catalogue.add(spec(description="better"), replace=True)
    assert catalogue.get("weather") == second
    assert [(v.version, v.active, v.spec) for v in catalogue.versions("weather")] == [
        (1, False, first),
        (2, True, second),
    ]


def test_the_same_definition_makes_none(catalogue: Catalogue) -> None:
    catalogue.add(spec())
    catalogue.add(spec(), replace=True)
    assert len(catalogue.versions("weather")) == 1


def test_a_removed_tool_is_gone_but_on_record(catalogue: Catalogue) -> None:
    catalogue.add(spec())
    catalogue.remove("weather")
    assert catalogue.list() == []
    assert [v.active for v in catalogue.versions("weather")] == [False]
    with pytest.raises(UnknownTool):
        catalogue.get("weather")
    with pytest.raises(UnknownTool):
        catalogue.remove("weather")


def test_a_removed_tool_can_return(catalogue: Catalogue) -> None:
    catalogue.add(spec())
    catalogue.remove("weather")
    catalogue.add(spec())
    assert [(v.version, v.active) for v in catalogue.versions("weather")] == [(1, True)]
    catalogue.remove("weather")
    catalogue.add(spec(description="new"))
    assert [(v.version, v.active) for v in catalogue.versions("weather")] == [(1, False), (2, True)]


def test_an_unknown_name_is_answered_with_a_near_one(catalogue: Catalogue) -> None:
    catalogue.add(spec())
    with pytest.raises(UnknownTool, match="did you mean 'weather'"):
        catalogue.get("wether")
    with pytest.raises(UnknownTool, match="no tool named 'x'"):
        catalogue.versions("x")


@pytest.mark.parametrize("name", ["ask_user", "decline"])
def test_the_agents_own_names_are_refused(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(BadToolSpec, match="reserved"):
        catalogue.add(spec(name))
    assert catalogue.list() == []


def test_a_bad_schema_is_refused_with_its_path(catalogue: Catalogue) -> None:
    bad = {"type": "object", "properties": {"city": {"type": "strng"}}}
    with pytest.raises(BadToolSpec, match=r"'weather': \$\.parameters\.properties\.city\.type: \"strng\""):
        catalogue.add(spec(parameters=bad))
    assert catalogue.list() == []


def test_a_clients_tool_is_not_registered(catalogue: Catalogue) -> None:
    with pytest.raises(BadToolSpec, match="sent with each request"):
        catalogue.add(spec(backend=ClientBackend()))


def test_of_many_who_register_one_name_one_succeeds(engine: Engine) -> None:
    def register(number: int) -> str:
        try:
            Catalogue(engine).add(spec(description=f"by {number}"))
        except DuplicateTool:
            return "refused"
        return "registered"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(register, range(8)))
    assert sorted(outcomes) == ["refused"] * 7 + ["registered"]
    assert len(Catalogue(engine).versions("weather")) == 1
