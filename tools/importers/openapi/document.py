"""An OpenAPI description as data: reads JSON and YAML, tells the version, follows local references."""

import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

import yaml

from tools.errors import BadImport

MAX_BYTES = 16_000_000
"""Of a description; the largest public ones have 12 MB."""
_MAX_UNFOLDED = 5_000_000
_MAX_LEVELS = 200
_MAX_HOPS = 32
"""References that lead to references, one after another."""


class Unusable(Exception):
    """One part of the description cannot be used; what does not need it is not concerned."""

    def __init__(self, reason: str, place: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place
        """JSON pointer."""


class Dialect(StrEnum):
    SWAGGER_20 = "2.0"
    OPENAPI_30 = "3.0"
    OPENAPI_31 = "3.1"
    """Also 3.2, whose additions (QUERY, `querystring`) are skipped by name."""


@dataclass(frozen=True, slots=True)
class Document:
    root: Mapping[str, Any]
    dialect: Dialect
    source: str
    """What messages call it: a path or an address."""
    url: str | None = None
    """Where it was fetched, for addresses that are relative to it."""

    def follow(self, node: Any, place: str) -> tuple[Mapping[str, Any], str]:
        """The object that `node` is or refers to, and its pointer.

        Raises: Unusable: a reference leads out of the document, nowhere or in a circle, or to no object.
        """
        for _ in range(_MAX_HOPS):
            if not isinstance(node, Mapping):
                raise Unusable(f"must be an object, not {_kind(node)}", place)
            reference = node.get("$ref")
            if reference is None:
                return node, place
            node, place = self.target(reference, f"{place}/$ref")
        raise Unusable("the reference leads through other references without end", place)

    def target(self, reference: Any, place: str) -> tuple[Any, str]:
        """What a local `$ref` points to, and its pointer.

        Raises: Unusable
        """
        if not isinstance(reference, str):
            raise Unusable(f"must be a string, not {_kind(reference)}", place)
        if not reference.startswith("#"):
            raise Unusable(f"{reference!r} points outside the description; bundle it into one document first", place)
        pointer = reference.removeprefix("#")
        if pointer and not pointer.startswith("/"):
            raise Unusable(f"{reference!r} is no JSON pointer; write it as #/components/...", place)
        node: Any = self.root
        for token in _tokens(pointer):
            if isinstance(node, Mapping) and token in node:
                node = node[token]
            elif isinstance(node, list) and token.isdecimal() and int(token) < len(node):
                node = node[int(token)]
            else:
                raise Unusable(f"{reference!r} leads nowhere: there is no {token!r}", place)
        return node, pointer


def pointer_to(place: str, *tokens: str | int) -> str:
    """`place` and below it `tokens`, escaped."""
    return place + "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def read_document(text: str, *, source: str, url: str | None = None) -> Document:
    """
    Raises: BadImport: the text is neither JSON nor YAML, or no OpenAPI description; names the line where it can.
    """
    start = text.lstrip("\ufeff \t\r\n")
    if start.startswith("<"):
        raise BadImport(f"{source}: this is a page in HTML or XML; give the address of the description itself")
    return as_document(_parsed(text, start, source), source=source, url=url)


def as_document(root: Any, *, source: str, url: str | None = None) -> Document:
    """Raises: BadImport: the data is no OpenAPI description."""
    if not isinstance(root, Mapping):
        raise BadImport(f"{source}: an OpenAPI description is an object, not {_kind(root)}")
    document = Document(root, _dialect(root, source), source, url)
    if not isinstance(root.get("paths", {}), Mapping):
        raise BadImport(f"{source}: /paths: must be an object, not {_kind(root['paths'])}")
    return document


def _parsed(text: str, start: str, source: str) -> Any:
    if start.startswith(("{", "[")):
        try:
            return json.loads(start)
        except json.JSONDecodeError as e:
            line = e.lineno + text[: len(text) - len(start)].count("\n")
            raise BadImport(f"{source}: line {line}, column {e.colno}: not JSON: {e.msg}") from e
        except RecursionError as e:
            raise BadImport(f"{source}: nested too deeply to be read") from e
    try:
        _check_levels(text)
        root = yaml.load(text, Loader=_Loader)
        if _unfolded(root, {}) > _MAX_UNFOLDED:
            raise BadImport(f"{source}: its YAML aliases unfold to more than {_MAX_UNFOLDED:,} values")
        return root
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise BadImport(f"{source}: {at}not YAML: {e.problem or e.context}") from e
    except (yaml.YAMLError, ValueError) as e:
        raise BadImport(f"{source}: not YAML: {str(e).splitlines()[0]}") from e
    except RecursionError as e:
        raise BadImport(f"{source}: nested too deeply, or without end, to be read") from e


def _check_levels(text: str) -> None:
    """The C loader recurses without looking at its stack: a text of brackets would end the process, so it is counted
    first. Raises: RecursionError: too many levels."""
    level = 0
    for event in yaml.parse(text, Loader=_Fastest):
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
            if level > _MAX_LEVELS:
                raise RecursionError
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1


def _unfolded(node: Any, known: dict[int, int]) -> int:
    """Values in `node`, each alias counted as often as it is used. Raises: RecursionError: one holds itself."""
    if not isinstance(node, Mapping | list):
        return 1
    if id(node) not in known:
        parts = node.values() if isinstance(node, Mapping) else node
        known[id(node)] = 1 + sum(_unfolded(part, known) for part in parts)
    return known[id(node)]


def _dialect(root: Mapping[str, Any], source: str) -> Dialect:
    if "openapi" in root:
        version = str(root["openapi"])
        if version.startswith("3.0"):
            return Dialect.OPENAPI_30
        if re.match(r"3\.[12]\b", version):
            return Dialect.OPENAPI_31
    elif "swagger" in root:
        version = str(root["swagger"])
        if version.startswith("2"):
            return Dialect.SWAGGER_20
    else:
        raise BadImport(f"{source}: names no version: an OpenAPI description begins with `openapi` or `swagger`")
    raise BadImport(f"{source}: version {version!r} is not known; there are: 2.0, 3.0, 3.1, 3.2")


def _tokens(pointer: str) -> list[str]:
    return [unquote(token).replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


_Fastest: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a yaml built without libyaml has no C loader


class _Loader(_Fastest):
    """YAML 1.2's core types, as OpenAPI asks: dates and `no` are text, and names are always text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return {key if isinstance(key, str) else json.dumps(key, default=str): part for key, part in made.items()}


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
