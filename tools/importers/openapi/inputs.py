"""What one operation takes: its parameters and its body, in one form for OpenAPI 3 and Swagger 2.0."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.importers.http import OURS
from tools.importers.openapi.document import Dialect, Document, Unusable, pointer_to
from tools.request_layout import FORM, MULTIPART, is_json
from tools.spec import Place, Style

_NOT_PARAMETERS = OURS | {"accept", "authorization"}
"""Headers that the request gets by other ways (OpenAPI 3.1, 4.8.12.1)."""
_STYLES = {
    Place.PATH: {Style.SIMPLE, Style.LABEL, Style.MATRIX},
    Place.QUERY: {Style.FORM, Style.SPACE, Style.PIPE, Style.DEEP},
    Place.HEADER: {Style.SIMPLE},
    Place.COOKIE: {Style.FORM},
}
_DEFAULT_STYLE = {
    Place.PATH: Style.SIMPLE,
    Place.QUERY: Style.FORM,
    Place.HEADER: Style.SIMPLE,
    Place.COOKIE: Style.FORM,
}
_COLLECTIONS = {"ssv": Style.SPACE, "tsv": Style.TAB, "pipes": Style.PIPE}
_PARAMETER_OWN = frozenset({"name", "in", "required", "collectionFormat", "allowEmptyValue", "description"})
"""Keys of a Swagger 2.0 parameter that are not its schema's."""


@dataclass(frozen=True, slots=True)
class Input:
    """One parameter."""

    place: Place
    name: str
    schema: Any
    schema_place: str
    """JSON pointer of the schema."""
    required: bool = False
    description: str = ""
    style: Style = Style.SIMPLE
    explode: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    media_type: str
    schema: Any
    schema_place: str
    required: bool | None
    """None: the description leaves it open."""
    description: str = ""
    styles: Mapping[str, tuple[Style, bool]] | None = None
    """How a form writes those properties that are not written in the usual way: style and explode."""


@dataclass(frozen=True, slots=True)
class Inputs:
    parameters: tuple[Input, ...]
    body: Body | None


def read_inputs(
    document: Document, item: Mapping[str, Any], item_place: str, operation: Mapping[str, Any], place: str
) -> Inputs:
    """
    Args:
        item: the path item, whose parameters hold for the operation unless it names them itself.

    Raises: Unusable
    """
    listed = [
        *_listed(document, item.get("parameters"), pointer_to(item_place, "parameters")),
        *_listed(document, operation.get("parameters"), pointer_to(place, "parameters")),
    ]
    effective = {(node.get("in"), node.get("name")): (node, at) for node, at in listed}
    if document.dialect is Dialect.SWAGGER_20:
        return _swagger(document, operation, place, list(effective.values()))
    parameters = tuple(_parameter(document, node, at) for node, at in effective.values())
    body = (
        _body(document, operation["requestBody"], pointer_to(place, "requestBody"))
        if "requestBody" in operation
        else None
    )
    return Inputs(tuple(filter(None, parameters)), body)


def is_binary(schema: Any) -> bool:
    """Whether a value is the content of a file."""
    if not isinstance(schema, Mapping):
        return False
    if schema.get("type") == "file" or schema.get("format") == "binary":
        return True
    media_type = schema.get("contentMediaType")
    return isinstance(media_type, str) and not is_json(media_type) and not media_type.startswith("text/")


def _listed(document: Document, nodes: Any, place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    if nodes is None:
        return
    if not isinstance(nodes, list):
        raise Unusable("must be a list of parameters", place)
    for index, node in enumerate(nodes):
        parameter, at = document.follow(node, pointer_to(place, index))
        if not isinstance(parameter.get("name"), str) or not parameter["name"]:
            raise Unusable("a parameter without a name", at)
        yield parameter, at


def _place_of(node: Mapping[str, Any], at: str) -> Place:
    where = node.get("in")
    if where not in ("path", "query", "header", "cookie"):
        raise Unusable(f"{node['name']!r} goes in {where!r}, which is no place for a parameter", pointer_to(at, "in"))
    return Place(where)


def _parameter(document: Document, node: Mapping[str, Any], at: str) -> Input | None:
    place, name = _place_of(node, at), node["name"]
    style, explode = _style(node, place, at)
    schema, schema_place = node.get("schema", True), pointer_to(at, "schema")
    content = node.get("content")
    if isinstance(content, Mapping) and content:
        media_type = next(iter(content))
        if not is_json(media_type):
            raise Unusable(f"{name!r} is written as {media_type}; only JSON can be", pointer_to(at, "content"))
        media, media_place = document.follow(content[media_type], pointer_to(at, "content", media_type))
        schema, schema_place = media.get("schema", True), pointer_to(media_place, "schema")
        style = Style.JSON
    return _unless_ours(
        Input(
            place=place,
            name=name,
            schema=_with_example(schema, node),
            schema_place=schema_place,
            required=node.get("required") is True or place is Place.PATH,
            description=_text(node.get("description")),
            style=style,
            explode=explode,
        ),
    )


def _unless_ours(parameter: Input) -> Input | None:
    is_ours = parameter.place is Place.HEADER and parameter.name.lower() in _NOT_PARAMETERS
    return None if is_ours else parameter


def _style(node: Mapping[str, Any], place: Place, at: str) -> tuple[Style, bool]:
    given = node.get("style", _DEFAULT_STYLE[place].value)
    allowed = _STYLES[place]
    if given not in {style.value for style in allowed}:
        known = ", ".join(sorted(allowed))
        raise Unusable(
            f"{node['name']!r}: no style {given!r} in a {place}; there are: {known}", pointer_to(at, "style")
        )
    style = Style(given)
    explode = node.get("explode")
    return style, explode if isinstance(explode, bool) else style is Style.FORM


def _with_example(schema: Any, node: Mapping[str, Any]) -> Any:
    """An example that stands beside the schema, in it."""
    if "example" in node and isinstance(schema, Mapping) and not {"$ref", "example", "examples"} & schema.keys():
        return {**schema, "example": node["example"]}
    return schema


def _body(document: Document, node: Any, at: str) -> Body | None:
    body, at = document.follow(node, at)
    content = body.get("content")
    if not isinstance(content, Mapping) or not content:
        raise Unusable("a body without content", pointer_to(at, "content"))
    required = body.get("required") if isinstance(body.get("required"), bool) else None
    for media_type in sorted(content, key=_preference):
        media, media_place = document.follow(content[media_type], pointer_to(at, "content", media_type))
        schema = media.get("schema", True)
        if _preference(media_type) < _OTHER or _is_text(document, schema, pointer_to(media_place, "schema")):
            return Body(
                media_type="application/json" if "*" in media_type else media_type,
                schema=_with_example(schema, media),
                schema_place=pointer_to(media_place, "schema"),
                required=required,
                description=_text(body.get("description")),
                styles=_encodings(media),
            )
    if required is False:
        return None
    raise Unusable(f"takes {', '.join(content)}, which no arguments can be written as", pointer_to(at, "content"))


_OTHER = 4


def _preference(media_type: str) -> int:
    essence = media_type.partition(";")[0].strip().lower()
    if essence in ("application/json", "*/*", "application/*"):
        return 0
    if is_json(essence):
        return 1
    return {FORM: 2, MULTIPART: 3}.get(essence, _OTHER)


def _is_text(document: Document, schema: Any, at: str) -> bool:
    """Whether a body of any other type is one string, which goes as it is."""
    resolved, _ = document.follow(schema, at) if isinstance(schema, Mapping) else ({}, at)
    return resolved.get("type") == "string" and not is_binary(resolved)


def _encodings(media: Mapping[str, Any]) -> dict[str, tuple[Style, bool]]:
    given = media.get("encoding")
    styles: dict[str, tuple[Style, bool]] = {}
    for name, encoding in given.items() if isinstance(given, Mapping) else ():
        if isinstance(encoding, Mapping) and encoding.get("style", "form") in {s.value for s in _STYLES[Place.QUERY]}:
            if "style" not in encoding and "explode" not in encoding:
                continue
            style = Style(encoding.get("style", "form"))
            explode = encoding.get("explode")
            styles[name] = (style, explode if isinstance(explode, bool) else style is Style.FORM)
    return styles


def _swagger(
    document: Document, operation: Mapping[str, Any], place: str, listed: list[tuple[Mapping[str, Any], str]]
) -> Inputs:
    consumes = operation.get("consumes", document.root.get("consumes"))
    types = [part for part in consumes if isinstance(part, str)] if isinstance(consumes, list) else []
    parameters: list[Input] = []
    fields: list[tuple[Mapping[str, Any], str]] = []
    body: Body | None = None
    for node, at in listed:
        match node.get("in"):
            case "body":
                body = _swagger_body(document, node, at, types, place)
            case "formData":
                fields.append((node, at))
            case _:
                parameters.append(_swagger_parameter(node, at))
    if fields:
        body = _swagger_form(fields, types, place)
    return Inputs(tuple(part for part in parameters if _unless_ours(part)), body)


def _swagger_parameter(node: Mapping[str, Any], at: str) -> Input:
    place = _place_of(node, at)
    style, explode = _collection(node, place, at)
    return Input(
        place=place,
        name=node["name"],
        schema={key: part for key, part in node.items() if key not in _PARAMETER_OWN},
        schema_place=at,
        required=node.get("required") is True or place is Place.PATH,
        description=_text(node.get("description")),
        style=style,
        explode=explode,
    )


def _collection(node: Mapping[str, Any], place: Place, at: str) -> tuple[Style, bool]:
    named = node.get("collectionFormat", "csv")
    usual = _DEFAULT_STYLE.get(place, Style.FORM)
    if named == "csv":
        return usual, False
    if usual is Style.FORM and named == "multi":
        return Style.FORM, True
    if usual is Style.FORM and named in _COLLECTIONS:
        return _COLLECTIONS[named], False
    raise Unusable(
        f"{node['name']!r}: a list in a {place} cannot be written as {named!r}", pointer_to(at, "collectionFormat")
    )


def _swagger_body(document: Document, node: Mapping[str, Any], at: str, consumes: list[str], place: str) -> Body:
    schema, schema_place = node.get("schema", True), pointer_to(at, "schema")
    media_type = min(consumes, key=_preference, default="application/json")
    if _preference(media_type) >= _OTHER and not _is_text(document, schema, schema_place):
        raise Unusable(
            f"takes {', '.join(consumes)}, which no arguments can be written as", pointer_to(place, "consumes")
        )
    required = node.get("required") if isinstance(node.get("required"), bool) else None
    media_type = "application/json" if "*" in media_type else media_type
    return Body(media_type, schema, schema_place, required, _text(node.get("description")))


def _swagger_form(fields: list[tuple[Mapping[str, Any], str]], consumes: list[str], place: str) -> Body:
    """Form fields as one object, as OpenAPI 3 has it."""
    properties = {}
    styles = {}
    for node, at in fields:
        properties[node["name"]] = {key: part for key, part in node.items() if key not in _PARAMETER_OWN} | (
            {"description": node["description"]} if "description" in node else {}
        )
        styles[node["name"]] = _collection(node, Place.BODY, at)
    required = [node["name"] for node, _ in fields if node.get("required") is True]
    has_files = any(node.get("type") == "file" for node, _ in fields)
    media_type = MULTIPART if has_files or (MULTIPART in consumes and FORM not in consumes) else FORM
    schema = {"type": "object", "properties": properties, "required": required}
    return Body(media_type, schema, pointer_to(place, "parameters"), bool(required), styles=styles)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
