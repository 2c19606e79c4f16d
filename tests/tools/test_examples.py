"""Examples, owner and tags of a tool: taken in with the definition, or refused with the place of the fault."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from sqlalchemy import Engine, create_engine

from runtime.decision import RefusalCategory
from tests.tools.tool_specs import EXAMPLES, tool
from tools.catalogue import Catalogue, check_spec
from tools.errors import BadToolSpec
from tools.examples import Category, ExecuteExample
from tools.importers.http import http_tool
from tools.spec import HttpBackend, Place, Placement, RequestLayout, ToolSpec
from tools.split import LEARNT_ON_FIRST, is_set_apart
from tools.tables import metadata
from tools.trimming import Change, changed

APART = [name for name in (f"tool_{n}" for n in range(100)) if is_set_apart(name)]
LEARNT_ON = [name for name in (f"tool_{n}" for n in range(100)) if not is_set_apart(name)]


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    engine: Engine = create_engine(f"sqlite:///{tmp_path / 'hone.sqlite'}")
    metadata.create_all(engine)
    yield Catalogue(engine)
    engine.dispose()


def definition(**changes: Any) -> dict[str, Any]:
    spec = tool()
    given = {"name": "find_flights", "description": spec.description, "parameters": spec.parameters}
    return {**given, "endpoint": {"url": "https://flights.example/find"}, "examples": EXAMPLES, **changes}


def test_a_definition_keeps_its_owner_tags_and_examples(catalogue: Catalogue) -> None:
    added = catalogue.add(http_tool(definition(owner=" travel team ", tags=["travel", "eu:1"])))
    kept = catalogue.get("find_flights")
    assert (kept, kept.owner, kept.tags) == (added, "travel team", ("travel", "eu:1"))
    assert [example.model_dump(mode="json") for example in kept.examples] == EXAMPLES


@pytest.mark.parametrize(
    ("example", "fault"),
    [
        (
            {"decision": "execute", "arguments": {"origin": "Oslo"}},
            r"\$\.examples\[3\]\.arguments: destination: required",
        ),
        (
            {"decision": "execute", "arguments": {**EXAMPLES[0]["arguments"], "day": "tomorrow"}},
            r"\$\.examples\[3\]\.arguments\.day: .*not a date",
        ),
        (
            {"decision": "execute", "arguments": {**EXAMPLES[0]["arguments"], "travellers": 12}},
            r"\$\.examples\[3\]\.arguments\.travellers: 12",
        ),
        ({"decision": "clarify", "missing": ["origin", "dy"]}, r"\$\.examples\[3\]\.missing\[1\]: no parameter 'dy'"),
        ({"decision": "clarify", "missing": ["cabin"]}, r"\$\.examples\[3\]\.missing\[0\]: 'cabin' may be left out"),
        ({"decision": "clarify", "missing": ["day", "day"]}, r"\$\.examples\[3\]\.missing\[1\]: 'day' is named twice"),
        ({"decision": "clarify", "missing": []}, r"\$\.examples\[3\]\.missing"),
        ({"decision": "refuse", "category": "rude"}, r"\$\.examples\[3\]\.category"),
        ({"decision": "dance"}, r"\$\.examples\[3\]"),
        ({"decision": "refuse", "utterance": "  "}, r"\$\.examples\[3\]\.utterance"),
        (
            {"decision": "refuse", "utterance": "i want to  fly to split"},
            r"\$\.examples\[3\]\.utterance: the same as \$\.examples\[1\]",
        ),
    ],
)
def test_an_example_that_does_not_fit_is_named_by_its_place(
    example: dict[str, Any], fault: str, catalogue: Catalogue
) -> None:
    with pytest.raises(BadToolSpec, match=fault):
        catalogue.add(http_tool(definition(examples=[*EXAMPLES, {"utterance": "now", **example}])))
    assert catalogue.list() == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tags": ["Travel"]}, r"\$\.tags\[0\]"),
        ({"tags": ["x"] * 33}, r"\$\.tags|\$: "),
        ({"owner": " "}, r"\$\.owner"),
        ({"examples": "none"}, r"\$\.examples"),
    ],
)
def test_a_bad_owner_or_tag_is_named(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadToolSpec, match=fault):
        http_tool(definition(**changes))


def test_what_only_one_form_of_a_call_needs_can_be_missing() -> None:
    forms = {"anyOf": [{"required": ["origin"]}, {"required": ["destination"]}]}
    spec = tool(required=[], examples=[{"utterance": "fly", "decision": "clarify", "missing": ["origin"]}])
    check_spec(spec.model_copy(update={"parameters": {**spec.parameters, **forms}}))


def test_a_tool_without_examples_keeps_the_digest_that_it_had_before_there_were_any() -> None:
    spec = tool(never_train=False)
    assert {"owner", "tags", "examples"}.isdisjoint(spec.model_dump(mode="json"))
    assert spec.sha256 != tool(never_train=False, tags=["travel"]).sha256


def test_refusals_are_sorted_as_the_policy_sorts_them() -> None:
    assert set(get_args(Category)) == set(RefusalCategory)


def test_the_examples_of_a_draft_follow_when_its_arguments_are_renamed_or_fixed() -> None:
    layout = RequestLayout(
        placements=tuple(
            Placement(place=Place.QUERY, name=name, argument=name) for name in tool().parameters["properties"]
        )
    )
    draft = tool(backend=HttpBackend(url="https://flights.example/", method="GET", layout=layout), examples=EXAMPLES)
    edited = changed(draft, Change(rename={"origin": "departure_city"}, fix={"day": "2026-06-01"}, tags=("travel",)))
    execute, clarify, _ = edited.examples
    assert isinstance(execute, ExecuteExample)
    assert execute.arguments == {"departure_city": "Bergen", "destination": "Split"}
    assert clarify.model_dump()["missing"] == ("departure_city",)
    assert edited.tags == ("travel",)
    check_spec(edited)


# the split


def test_names_are_set_apart_in_the_share_that_is_said_and_always_the_same() -> None:
    assert 0.12 < sum(is_set_apart(f"name_{n}") for n in range(5000)) / 5000 < 0.18
    assert [is_set_apart(name) for name in APART] == [True] * len(APART)


def test_the_first_tools_are_learnt_on_and_later_ones_by_their_names(catalogue: Catalogue) -> None:
    first = [catalogue.add(http(name)) for name in APART[:LEARNT_ON_FIRST]]
    assert [spec.never_train for spec in first] == [False] * LEARNT_ON_FIRST
    assert catalogue.add(tool(APART[LEARNT_ON_FIRST])).never_train is True
    assert catalogue.add(tool(LEARNT_ON[0])).never_train is False
    assert [spec.never_train for spec in catalogue.list() if spec.name == APART[LEARNT_ON_FIRST]] == [True]


def test_whoever_registers_a_tool_chooses_its_side(catalogue: Catalogue) -> None:
    assert catalogue.add(tool(LEARNT_ON[0], never_train=True)).never_train is True
    for name in LEARNT_ON[1 : LEARNT_ON_FIRST + 2]:
        catalogue.add(tool(name, backend=HttpBackend(url="https://example.com/")))
    assert catalogue.add(tool(APART[0], never_train=False)).never_train is False


def test_a_tool_keeps_its_side_from_version_to_version(catalogue: Catalogue) -> None:
    early, late = APART[0], LEARNT_ON[0]
    catalogue.add(tool(early))
    for name in LEARNT_ON[1:6]:
        catalogue.add(http(name))
    catalogue.add(tool(late, never_train=True))
    assert catalogue.add(tool(early, "Another description of it."), replace=True).never_train is False
    assert catalogue.add(tool(late, "Another description of it."), replace=True).never_train is True


def http(name: str) -> ToolSpec:
    return tool(name, backend=HttpBackend(url="https://example.com/"))
