"""From descriptions to tools: names, places, choice, and what is left out with its reason."""

import json
import re
import time
from typing import Any

import pytest

from tests.tools.openapi_specs import backend, layout, only_tool, operation, posting, spec, surveyed
from tools.errors import BadImport
from tools.json_schema import argument_errors
from tools.spec import Place, SideEffect

NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,63}")


def test_an_operation_becomes_a_tool() -> None:
    described = operation(
        operationId="getPet",
        summary="Show a pet.",
        description="With its owner.",
        parameters=[{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
    )
    tool = only_tool(spec({"/pets/{id}": {"get": described}}))
    assert (tool.name, tool.description, tool.side_effect) == ("getPet", "Show a pet. With its owner.", SideEffect.READ)
    assert (backend(tool).method, backend(tool).url) == ("GET", "https://pets.example/v1/pets/{id}")
    assert tool.parameters == {
        "type": "object",
        "properties": {"id": {"type": "integer"}},
        "additionalProperties": False,
        "required": ["id"],
    }


@pytest.mark.parametrize(
    ("method", "effect"),
    [("get", "read"), ("head", "read"), ("put", "idempotent"), ("delete", "idempotent"), ("post", "write"),
     ("patch", "write")],
)  # fmt: skip
def test_the_method_decides_the_side_effect(method: str, effect: str) -> None:
    assert only_tool(spec({"/a": {method: operation()}})).side_effect == effect


@pytest.mark.parametrize(
    ("operation_id", "name"),
    [
        ("pets.list", "pets_list"),
        ("Pets/List all!", "Pets_List_all"),
        ("", "get_pets_id_toys"),
        (None, "get_pets_id_toys"),
        ("42", "call_42"),
        ("日本", "call"),
        ("x" * 90, "x" * 64),
        ("decline", "decline_2"),
        ("ask_user", "ask_user_2"),
    ],
)
def test_every_tool_gets_a_name_that_models_accept(operation_id: str | None, name: str) -> None:
    parameter = {"name": "id", "in": "path", "required": True, "schema": {}}
    described = operation(operationId=operation_id, parameters=[parameter])
    tool = only_tool(spec({"/pets/{id}/toys": {"get": described}}))
    assert tool.name == name
    assert NAME.fullmatch(tool.name)


def test_names_that_are_the_same_are_told_apart() -> None:
    paths = {f"/{n}": {"get": operation(operationId="x" * 70)} for n in range(3)}
    names = [tool.name for tool in surveyed(spec(paths)).tools]
    assert names == ["x" * 64, "x" * 60 + "_2", "x" * 60 + "_3"]


PATHS: dict[str, Any] = {
    "/pets": {"get": operation(operationId="listPets", tags=["pets"]), "post": operation(operationId="addPet")},
    "/pets/{id}": {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "get": operation(operationId="getPet", tags=["pets", "one"]),
    },
    "/shops": {"get": operation(operationId="listShops", tags=["shops"])},
}


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (["getPet"], {"getPet"}),
        (["list*"], {"listPets", "listShops"}),
        (["GET /pets/{id}"], {"getPet"}),
        (["get /pets*"], {"listPets", "getPet"}),
        (["/pets"], {"listPets", "addPet"}),
        (["one", "shops"], {"getPet", "listShops"}),
        ([], {"listPets", "addPet", "getPet", "listShops"}),
    ],
)
def test_operations_are_chosen_by_id_path_tag_or_glob(only: list[str], names: set[str]) -> None:
    assert {tool.name for tool in surveyed(spec(PATHS), only=tuple(only)).tools} == names


def test_a_choice_that_fits_nothing_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(BadImport, match="no operation fits 'fish'; there are: listPets, addPet"):
        surveyed(spec(PATHS), only=("getPet", "fish"))


def test_one_name_in_several_places_gives_one_argument_for_each() -> None:
    parameters = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
        {"name": "id", "in": "query", "schema": {"type": "integer"}},
        {"name": "$filter[x]", "in": "query", "schema": {"type": "string"}},
    ]
    body = {"type": "object", "properties": {"id": {"type": "boolean"}}}
    tool = only_tool(spec({"/a/{id}": {"post": {**posting(body), "parameters": parameters}}}))
    assert tool.parameters["properties"] == {
        "id": {"type": "string"},
        "id_query": {"type": "integer"},
        "filter_x": {"type": "string"},
        "id_body": {"type": "boolean"},
    }
    wire = {p.argument: (p.place, p.name) for p in layout(tool).placements}
    assert wire["id_query"] == (Place.QUERY, "id")
    assert wire["filter_x"] == (Place.QUERY, "$filter[x]")
    assert wire["id_body"] == (Place.BODY, "id")


def test_an_operations_own_parameter_wins_over_the_paths() -> None:
    shared = {"name": "n", "in": "query", "required": True, "schema": {"type": "string"}}
    own = {"name": "n", "in": "query", "schema": {"type": "integer"}}
    tool = only_tool(spec({"/a": {"parameters": [shared], "get": operation(parameters=[own])}}))
    assert (tool.parameters["properties"], tool.required) == ({"n": {"type": "integer"}}, ())


def test_headers_that_the_request_gets_anyway_are_no_arguments() -> None:
    names = ["Accept", "Content-Type", "Authorization", "Host", "Idempotency-Key", "X-Real"]
    parameters = [{"name": name, "in": "header", "required": True, "schema": {"type": "string"}} for name in names]
    assert list(only_tool(spec({"/a": {"get": operation(parameters=parameters)}})).parameters["properties"]) == [
        "X-Real"
    ]


@pytest.mark.parametrize(
    ("required", "listed", "dependent"),
    [(True, ("a",), None), (None, ("a",), None), (False, (), {"b": ["a"]})],
)
def test_a_bodys_required_properties_are_required_as_far_as_the_body_is(
    required: bool | None, listed: tuple[str, ...], dependent: Any
) -> None:
    described = posting({"type": "object", "required": ["a"], "properties": {"a": {}, "b": {}}})
    described["requestBody"]["required"] = required
    if required is None:
        del described["requestBody"]["required"]
    tool = only_tool(spec({"/a": {"post": described}}))
    assert tool.required == listed
    assert tool.parameters.get("dependentRequired") == dependent


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"oneOf": [{"type": "object", "properties": {"a": {}}}, {"type": "string"}]},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {}}, "minProperties": 1},
        {"type": "object", "properties": {"a": {}}, "required": ["b"]},
        {"type": "object"},
        {"type": "string"},
    ],
)
def test_a_body_that_is_no_plain_object_is_one_argument(schema: dict[str, Any]) -> None:
    tool = only_tool(spec({"/a": {"post": posting(schema)}}))
    assert tool.parameters["properties"] == {"body": schema}
    assert tool.required == ("body",)


def test_parts_of_all_of_become_one_set_of_arguments_without_what_is_read_only() -> None:
    schemas = {
        "Base": {"type": "object", "properties": {"id": {"$ref": "#/components/schemas/Id"}, "n": {"type": "string"}}},
        "Id": {"type": "integer", "readOnly": True},
    }
    body = {
        "allOf": [{"$ref": "#/components/schemas/Base"}, {"required": ["id", "n"], "properties": {"m": {}}}],
    }
    tool = only_tool(spec({"/a": {"post": posting(body)}}, components={"schemas": schemas}))
    assert list(tool.parameters["properties"]) == ["n", "m"]
    assert tool.required == ("n",)


def test_a_recursive_schema_keeps_its_definition_and_validates() -> None:
    node = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/components/schemas/Node"}}}
    tool = only_tool(
        spec({"/a": {"post": posting({"$ref": "#/components/schemas/Node"})}}, components={"schemas": {"Node": node}})
    )
    assert set(tool.parameters["$defs"]) == {"Node"}
    assert argument_errors(tool.parameters, {"v": 1, "next": {"next": {"v": 2}}}) == []
    assert argument_errors(tool.parameters, {"next": {"next": {"v": "x"}}}) != []


@pytest.mark.parametrize(
    ("servers", "url", "base", "called"),
    [
        ([{"url": "https://{r}.h/{v}/", "variables": {"r": {"default": "eu"}, "v": {"default": 2}}}], None, None,
         "https://eu.h/2/a"),
        ([{"url": "/api"}], "https://h:8443/docs/spec.yaml", None, "https://h:8443/api/a"),
        ([{"url": "../v2"}], "https://h/docs/x/spec.yaml", None, "https://h/docs/v2/a"),
        ([], "https://h/docs/spec.yaml", None, "https://h/a"),
        ([{"url": "nonsense"}], None, "http://localhost:9/x/", "http://localhost:9/x/a"),
    ],
)  # fmt: skip
def test_an_operation_is_called_at_its_server(servers: Any, url: str | None, base: str | None, called: str) -> None:
    root = {**spec({"/a": {"get": operation()}}), "servers": servers}
    assert backend(only_tool(root, url, base_url=base)).url == called


def test_nearer_servers_win() -> None:
    paths = {
        "/a": {
            "servers": [{"url": "https://path.h"}],
            "get": operation(operationId="a", servers=[{"url": "https://own.h"}]),
            "put": operation(operationId="b"),
        },
        "/c": {"get": operation(operationId="c")},
    }
    urls = {tool.name: backend(tool).url for tool in surveyed(spec(paths)).tools}
    assert urls == {"a": "https://own.h/a", "b": "https://path.h/a", "c": "https://pets.example/v1/c"}


@pytest.mark.parametrize(
    ("others", "url", "called"),
    [
        ({"schemes": ["http", "https"], "basePath": "/v1/"}, None, "https://pets.example/v1/a"),
        ({"schemes": ["ws", "http"]}, None, "http://pets.example/a"),
        ({"basePath": "v1"}, "http://h/spec.json", "http://pets.example/v1/a"),
        ({"host": None, "basePath": "/v1"}, "http://h:1/spec.json", "http://h:1/v1/a"),
    ],
)
def test_swagger_names_its_server_by_host_and_base_path(others: dict[str, Any], url: str | None, called: str) -> None:
    root = {**spec({"/a": {"get": operation()}}, version="2.0"), **others}
    assert backend(only_tool(root, url)).url == called


GOOD = {"get": operation(operationId="good")}
SCHEMA = "post/requestBody/content/application~1json/schema"
"""Where `posting` has its schema."""
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"get": "text"}, "an operation must be an object", "get"),
    ({"options": operation()}, "OPTIONS is no method that tools use", "options"),
    ({"get": operation(parameters=[{"$ref": "#/x"}])}, "leads nowhere", "get/parameters/0/$ref"),
    ({"get": operation(parameters=[{"in": "query"}])}, "without a name", "get/parameters/0"),
    ({"get": operation(parameters=[{"name": "a", "in": "sky"}])}, "'sky', which is no place", "get/parameters/0/in"),
    ({"get": operation(parameters={"a": 1})}, "must be a list of parameters", "get/parameters"),
    ({"get": operation(parameters=[{"name": "a", "in": "query", "style": "odd"}])}, "no style 'odd'", "get/parameters/0/style"),
    ({"get": operation(parameters=[{"name": "a b", "in": "header"}])}, "no header name", "get/parameters/0/schema"),
    ({"get": operation(parameters=[{"name": "id", "in": "path"}])}, "the path has no {id}", "get"),
    ({"get": operation(security=[{"nowhere": []}])}, "'nowhere' is not defined", "/components/securitySchemes"),
    ({"get": operation(security="x")}, "list of objects", "get/security"),
    ({"get": operation(servers=[{"url": "ftp://h"}])}, "no HTTP address", "get/servers/0"),
    ({"get": operation(servers=[{"url": "https://{x}"}])}, "no default", "get/servers/0"),
    ({"post": operation(requestBody={"content": {}})}, "a body without content", "post/requestBody/content"),
    ({"post": operation(requestBody={"content": {"image/png": {}}})}, "takes image/png", "post/requestBody/content"),
    ({"post": posting({"$ref": "other.yaml"})}, "points outside", SCHEMA + "/$ref"),
    ({"post": posting({"type": "objekt"})}, "objekt", "post"),
    ({"post": posting({"properties": [1]})}, "an object of schemas", SCHEMA + "/properties"),
    ({"post": posting({"anyOf": 3})}, "a list of schemas", SCHEMA + "/anyOf"),
    ({"post": posting(3)}, "a schema must be an object", SCHEMA),
    ({"$ref": "#/nowhere"}, "leads nowhere", "$ref"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "reason", "place"), BROKEN)
def test_what_cannot_be_used_is_skipped_with_reason_and_place_and_the_rest_survives(
    item: dict[str, Any], reason: str, place: str
) -> None:
    found = surveyed(spec({"/bad": item, "/good": GOOD}))
    assert [tool.name for tool in found.tools] == ["good"]
    (skipped,) = found.skipped
    assert reason in skipped.reason
    assert skipped.place in (place, f"/paths/~1bad/{place}")


def test_a_placeholder_without_a_parameter_is_skipped() -> None:
    (skipped,) = surveyed(spec({"/pets/{id}": {"get": operation()}})).skipped
    assert (skipped.name, skipped.place) == ("GET /pets/{id}", "/paths/~1pets~1{id}/get")
    assert "the path has {id}, which no parameter describes" in skipped.reason


def test_a_description_without_operations_is_an_error() -> None:
    with pytest.raises(BadImport, match="/paths: describes no operation"):
        surveyed(spec({"x-note": {}}))


def test_more_operations_than_can_be_used_must_be_chosen_from() -> None:
    root = spec({f"/things/{n}": {"get": operation(operationId=f"thing{n}")} for n in range(2_001)})
    with pytest.raises(BadImport, match="2,001 operations, more than 2,000; choose with only"):
        surveyed(root)
    assert len(surveyed(root, only=("thing7*",)).tools) == 111


def test_schemas_that_unfold_without_end_are_skipped() -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        deep = {"type": "object", "properties": {"a": deep}}
    wide = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(25_000)}}
    doubling = {
        f"D{n}": {"type": "array", "items": {"anyOf": [{"$ref": f"#/components/schemas/D{n + 1}"}] * 2}}
        for n in range(40)
    }
    doubling["D40"] = {"type": "string"}
    paths = {
        "/deep": {"post": posting(deep)},
        "/wide": {"post": posting(wide)},
        "/doubling": {"post": {**posting({"$ref": "#/components/schemas/D0"}), "operationId": "doubling"}},
        "/good": GOOD,
    }
    began = time.perf_counter()
    found = surveyed(spec(paths, components={"schemas": doubling}))
    assert time.perf_counter() - began < 10
    assert {tool.name for tool in found.tools} >= {"good", "doubling"}
    assert {part.name for part in found.skipped} == {"POST /deep", "POST /wide"}
    assert all("unfolds to more than" in part.reason for part in found.skipped)
    assert all(len(json.dumps(tool.parameters)) < 20_000 for tool in found.tools)


def test_five_hundred_operations_with_one_broken_give_the_others() -> None:
    item = {
        "type": "object",
        "required": ["a"],
        "properties": {f"p{n}": {"type": "string"} for n in range(20)} | {"a": {}},
    }
    paths: dict[str, Any] = {
        f"/things/{n}": {"post": {**posting({"$ref": "#/components/schemas/Item"}), "operationId": f"thing{n % 250}"}}
        for n in range(500)
    }
    paths["/things/77"]["post"]["requestBody"] = 5
    found = surveyed(spec(paths, components={"schemas": {"Item": item}}))
    assert len(found.tools) == 499
    assert len({tool.name for tool in found.tools}) == 499
    assert [part.place for part in found.skipped] == ["/paths/~1things~177/post/requestBody"]
