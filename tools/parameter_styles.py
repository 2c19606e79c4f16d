"""How one parameter is written in a path, a query, a header or a cookie (OpenAPI 3.1, 4.8.12; RFC 6570).

Pure. What comes out is percent-encoded for paths, queries and cookies, and plain for headers.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from tools.spec import Style

_SEPARATORS = {Style.SPACE: "%20", Style.PIPE: "%7C", Style.TAB: "%09"}

Encode = Callable[[str], str]


def encoded(text: str) -> str:
    """Everything but RFC 3986's unreserved characters as %XX."""
    return quote(text, safe="")


def plain(value: Any) -> str:
    """One value as text: strings as they are, anything else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def path_value(name: str, value: Any, style: Style, *, explode: bool) -> str:
    """What stands in the path in place of `{name}`."""
    match style:
        case Style.LABEL:
            return "." + _listed(value, encoded, separator="." if explode else ",", explode=explode)
        case Style.MATRIX:
            return _matrix(encoded(name), value, explode=explode)
        case Style.JSON:
            return encoded(json.dumps(value, ensure_ascii=False))
        case _:
            return _listed(value, encoded, separator=",", explode=explode)


def query_pairs(name: str, value: Any, style: Style, *, explode: bool) -> list[tuple[str, str]]:
    """Names and values, both encoded; none for null and for an empty list or object."""
    if value is None:
        return []
    if style is Style.JSON:
        return [(encoded(name), encoded(json.dumps(value, ensure_ascii=False)))]
    if isinstance(value, Mapping):
        return _object_pairs(name, value, style, explode=explode)
    if isinstance(value, list):
        parts = [encoded(plain(part)) for part in value if part is not None]
        if explode and style not in _SEPARATORS:
            return [(encoded(name), part) for part in parts]
        return [(encoded(name), _SEPARATORS.get(style, ",").join(parts))] if parts else []
    return [(encoded(name), encoded(plain(value)))]


def header_value(value: Any, style: Style, *, explode: bool) -> str:
    """As `simple` writes it, unencoded."""
    if style is Style.JSON:
        return json.dumps(value)
    return _listed(value, str, separator=",", explode=explode)


def _object_pairs(name: str, value: Mapping[str, Any], style: Style, *, explode: bool) -> list[tuple[str, str]]:
    if style is Style.DEEP:
        return list(_deep_pairs(encoded(name), value))
    members = {key: part for key, part in value.items() if part is not None}
    if explode and style is Style.FORM:
        return [(encoded(key), encoded(plain(part))) for key, part in members.items()]
    flat = [encoded(plain(part)) for pair in members.items() for part in pair]
    return [(encoded(name), _SEPARATORS.get(style, ",").join(flat))] if flat else []


def _deep_pairs(name: str, value: Any) -> list[tuple[str, str]]:
    """`name[key]=value`; OpenAPI leaves deeper levels open, and this is what servers that read them expect."""
    if isinstance(value, Mapping):
        return [
            pair
            for key, part in value.items()
            if part is not None
            for pair in _deep_pairs(f"{name}[{encoded(key)}]", part)
        ]
    if isinstance(value, list):
        return [(name, encoded(plain(part))) for part in value]
    return [(name, encoded(plain(value)))]


def _listed(value: Any, encode: Encode, *, separator: str, explode: bool) -> str:
    if isinstance(value, Mapping):
        if explode:
            return separator.join(f"{encode(key)}={encode(plain(part))}" for key, part in value.items())
        return ",".join(encode(plain(part)) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return separator.join(encode(plain(part)) for part in value)
    return encode(plain(value))


def _matrix(name: str, value: Any, *, explode: bool) -> str:
    if explode and isinstance(value, Mapping):
        return "".join(f";{encoded(key)}={encoded(plain(part))}" for key, part in value.items())
    if explode and isinstance(value, list):
        return "".join(f";{name}={encoded(plain(part))}" for part in value)
    return f";{name}={_listed(value, encoded, separator=',', explode=False)}"
