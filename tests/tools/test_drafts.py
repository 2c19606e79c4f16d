"""Drafts: kept, changed, published; never half of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event

from tests.tools.openapi_specs import layout, operation, posting, spec, surveyed
from tools.catalogue import Catalogue
from tools.drafts import Drafts
from tools.errors import BadToolSpec, DuplicateTool, UnknownTool
from tools.importers.survey import Survey
from tools.spec import ToolSpec
from tools.tables import metadata
from tools.trimming import Change, changed


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def drafts(engine: Engine) -> Drafts:
    return Drafts(engine)


@pytest.fixture
def catalogue(engine: Engine) -> Catalogue:
    return Catalogue(engine)


def found(*names: str) -> Survey:
    return surveyed(spec({f"/{name}": {"get": operation(operationId=name)} for name in names}))


def order() -> ToolSpec:
    body = {
        "type": "object",
        "required": ["drink"],
        "properties": {"drink": {"type": "string"}, "cups": {"type": "integer"}},
    }
    parameters = [{"name": "v", "in": "query", "required": True, "schema": {"type": "integer"}}]
    (tool,) = surveyed(
        spec({"/orders": {"post": {**posting(body), "parameters": parameters, "operationId": "order"}}})
    ).tools
    return tool


def test_an_import_makes_drafts_that_the_agent_does_not_see(drafts: Drafts, catalogue: Catalogue) -> None:
    kept = drafts.import_all(found("b", "a"), "pets.yaml")
    assert [tool.name for tool in kept.tools] == ["b", "a"]
    assert [(draft.spec.name, draft.source) for draft in drafts.list()] == [("a", "pets.yaml"), ("b", "pets.yaml")]
    assert catalogue.list() == []


def test_published_drafts_are_tools_and_drafts_no_more(drafts: Drafts, catalogue: Catalogue) -> None:
    drafts.import_all(found("a", "b"), "pets.yaml")
    drafts.publish(["a"])
    assert [tool.name for tool in catalogue.list()] == ["a"]
    assert [draft.spec.name for draft in drafts.list()] == ["b"]


def test_a_live_import_registers_at_once(drafts: Drafts, catalogue: Catalogue) -> None:
    drafts.import_all(found("a", "b"), "pets.yaml", live=True)
    assert [tool.name for tool in catalogue.list()] == ["a", "b"]
    assert drafts.list() == []


@pytest.mark.parametrize("live", [True, False])
def test_a_taken_name_is_skipped_and_the_rest_survives(drafts: Drafts, catalogue: Catalogue, live: bool) -> None:
    drafts.import_all(found("a"), "one.yaml", live=True)
    drafts.import_all(found("b"), "one.yaml")
    kept = drafts.import_all(found("a", "b", "c"), "two.yaml", live=live)
    assert [tool.name for tool in kept.tools] == ["c"]
    assert [(part.name, part.reason) for part in kept.skipped] == [
        ("a", "the name 'a' is taken; give a prefix, or replace it"),
        ("b", "the name 'b' is taken; give a prefix, or replace it"),
    ]
    replaced = drafts.import_all(found("a", "b", "c"), "two.yaml", live=live, replace=True)
    assert len(replaced.tools) == 3
    assert all(draft.source == "two.yaml" for draft in drafts.list())


def test_an_import_that_breaks_off_leaves_nothing(engine: Engine, drafts: Drafts, catalogue: Catalogue) -> None:
    seen = []

    @event.listens_for(engine, "before_cursor_execute")
    def break_at_the_third(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        if statement.startswith("INSERT INTO tools"):
            seen.append(statement)
            if len(seen) == 3:
                raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        drafts.import_all(found("a", "b", "c", "d"), "pets.yaml", live=True)
    assert len(seen) == 3
    assert catalogue.list() == []
    assert drafts.list() == []


def test_of_several_drafts_all_are_published_or_none(drafts: Drafts, catalogue: Catalogue) -> None:
    drafts.import_all(found("a", "b"), "pets.yaml")
    with pytest.raises(UnknownTool, match=r"no draft named 'bb'; did you mean 'b'\?"):
        drafts.publish(["a", "bb"])
    catalogue.add(found("b").tools[0].model_copy(update={"description": "other"}))
    with pytest.raises(DuplicateTool, match="'b' is registered"):
        drafts.publish(["a", "b"])
    assert len(drafts.list()) == 2
    assert [tool.name for tool in catalogue.list()] == ["b"]
    drafts.publish(["a", "b"], replace=True)
    assert [version.version for version in catalogue.versions("b")] == [1, 2]


def test_a_draft_is_renamed_discarded_and_missed(drafts: Drafts) -> None:
    drafts.import_all(found("a", "b"), "pets.yaml")
    drafts.change("a", Change(name="pets"))
    with pytest.raises(DuplicateTool, match="another draft is named 'pets'"):
        drafts.change("b", Change(name="pets"))
    with pytest.raises(BadToolSpec, match="reserved"):
        drafts.change("b", Change(name="decline"))
    drafts.discard("pets")
    assert [draft.spec.name for draft in drafts.list()] == ["b"]
    with pytest.raises(UnknownTool):
        drafts.discard("pets")


def test_a_draft_is_described_anew_and_trimmed() -> None:
    change = Change(
        name="order_tea", description="Order tea.", fix={"drink": "tea"}, rename={"cups": "count"}, describe={"cups": "How many."},
        timeout_s=3,
    )  # fmt: skip
    tool = changed(order(), change)
    assert (tool.name, tool.description, tool.timeout_s) == ("order_tea", "Order tea.", 3)
    assert tool.parameters["properties"] == {
        "v": {"type": "integer"},
        "count": {"type": "integer", "description": "How many."},
    }
    assert tool.required == ("v",)
    placed = {p.name: (p.argument, p.fixed) for p in layout(tool).placements}
    assert placed == {"v": ("v", None), "drink": (None, "tea"), "cups": ("count", None)}
    assert "cups" not in {p.name for p in layout(changed(order(), Change(drop=("cups",)))).placements}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Change(drop=("v",)), "v: required by the service; fix its value"),
        (Change(drop=("size",)), "size: no such argument; there are: v, drink, cups"),
        (Change(fix={"cups": "two"}), 'fix: cups: "two" is not of type integer'),
        (Change(fix={"cups": None}), "cups: null cannot be fixed"),
        (Change(rename={"cups": "v"}), "two arguments would have one name"),
        (Change(name="two words"), "name: String should match pattern"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_by_name(change: Change, told: str) -> None:
    with pytest.raises(BadToolSpec, match=told):
        changed(order(), change)
