"""From the arguments of a call to one HTTP request, as the tool's layout places them.

Pure: no client, no network. Each value goes where the layout says and nowhere else; a value that its place cannot carry
is the caller's fault and named, never mended.
"""

import json
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.outcome import CallFault, failure
from tools.parameter_styles import encoded, header_value, path_value, plain, query_pairs
from tools.spec import CallStatus, HttpBackend, Place, Placement, RequestLayout, Style

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A request but for its method and credentials."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    """`name=value`, encoded."""
    content: bytes | None = None


def lay_out(
    backend: HttpBackend, layout: RequestLayout, arguments: Mapping[str, Any], secret: Callable[[str], str]
) -> LaidOut:
    """
    Args:
        secret: the value of a named secret.

    Raises: CallFault: a value that its place cannot carry, or a secret that is not set.
    """
    given = [(p, value) for p, value in _values(layout, arguments, secret) if value is not None or _in_body(p)]
    headers: dict[str, str] = {}
    query: list[tuple[str, str]] = []
    cookies: list[str] = []
    for placed, value in given:
        if placed.place is Place.HEADER:
            headers[placed.name] = _header(placed, value)
        elif placed.place is Place.QUERY:
            query += query_pairs(placed.name, value, placed.style, explode=placed.explode)
        elif placed.place is Place.COOKIE:
            cookies += [f"{k}={v}" for k, v in query_pairs(placed.name, value, placed.style, explode=placed.explode)]
    in_path = {p.name: (p, value) for p, value in given if p.place is Place.PATH}
    content, media_type = _body(layout, [(p, value) for p, value in given if _in_body(p)])
    if content is not None and media_type is not None:
        headers["content-type"] = media_type
    return LaidOut(with_query(_filled(backend.url, in_path), query), headers, tuple(cookies), content)


def with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    """Adds encoded pairs to what query there is."""
    if not pairs:
        return url
    joined = "&".join(f"{name}={value}" for name, value in pairs)
    return f"{url}{'&' if '?' in url else '?'}{joined}"


def placeholders(url: str) -> set[str]:
    """The names in braces."""
    return set(_PLACEHOLDER.findall(url))


def layout_problem(backend: HttpBackend, properties: Collection[str]) -> str | None:
    """Where the layout and the arguments contradict one another; None: every argument has one place."""
    if backend.layout is None:
        return None
    placed = [p.argument for p in backend.layout.placements if p.argument is not None]
    for name in properties:
        if placed.count(name) != 1:
            return f"the argument {name!r} has {placed.count(name)} places in the request; it needs one"
    lost = sorted(set(placed) - set(properties))
    if lost:
        return f"the request takes {lost[0]!r}, which is no argument"
    if placeholders(_authority(backend.url)):
        return f"the address {backend.url!r} leaves its host to an argument; register one with its real host"
    in_path = {p.name for p in backend.layout.placements if p.place is Place.PATH}
    if in_path != placeholders(backend.url):
        return f"the address has {sorted(placeholders(backend.url))}, the layout fills {sorted(in_path)}"
    return None


def _in_body(placed: Placement) -> bool:
    return placed.place in (Place.BODY, Place.WHOLE_BODY)


def _values(
    layout: RequestLayout, arguments: Mapping[str, Any], secret: Callable[[str], str]
) -> Iterator[tuple[Placement, Any]]:
    for placed in layout.placements:
        if placed.secret is not None:
            yield placed, secret(placed.secret)
        elif placed.argument is None:
            yield placed, placed.fixed
        elif placed.argument in arguments:
            yield placed, arguments[placed.argument]


def _filled(url: str, values: Mapping[str, tuple[Placement, Any]]) -> str:
    """The address with each placeholder filled.

    A part of the path that came out empty or as dots would lead to another address than the one that was registered.
    """

    def fill(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in values:
            raise _bad(f"{name}: required, since it is a part of the address")
        placed, value = values[name]
        return path_value(name, value, placed.style, explode=placed.explode)

    if placeholders(_authority(url)):  # whoever writes the arguments would choose who gets the credentials
        raise failure(
            f"the address {url!r} leaves its host to an argument; the tool must be registered with its real host"
        )
    path, mark, query = url.partition("?")
    segments = path.split("/")
    for index, segment in enumerate(segments):
        if _PLACEHOLDER.search(segment):
            segments[index] = _PLACEHOLDER.sub(fill, segment)
            if segments[index] in ("", ".", ".."):
                names = ", ".join(_PLACEHOLDER.findall(segment))
                raise _bad(f"{names}: a part of the address; it cannot be empty, '.' or '..'")
    return "/".join(segments) + mark + query


def _authority(url: str) -> str:
    """Scheme and host."""
    scheme, mark, rest = url.partition("://")
    return scheme + mark + re.split(r"[/?#\\]", rest, maxsplit=1)[0]


def _header(placed: Placement, value: Any) -> str:
    text = header_value(value, placed.style, explode=placed.explode)
    if not text.isascii() or not text.isprintable():
        shown = placed.argument or placed.name
        raise _bad(f"{shown}: goes into a header, which carries printable ASCII characters only")
    return text.strip()


def _body(layout: RequestLayout, parts: list[tuple[Placement, Any]]) -> tuple[bytes | None, str | None]:
    """Content and its type."""
    media_type = layout.media_type
    if media_type is None or not (parts or layout.body_required):
        return None, None
    whole = next((value for p, value in parts if p.place is Place.WHOLE_BODY), None)
    is_whole = any(p.place is Place.WHOLE_BODY for p, _ in parts)
    if media_type == FORM:
        return _form(parts, whole), media_type
    if media_type == MULTIPART:
        return _multipart(parts, whole)
    if is_json(media_type):
        value = whole if is_whole else {p.name: value for p, value in parts}
        return json.dumps(value, ensure_ascii=False).encode(), media_type
    return plain(whole if is_whole else "").encode(), media_type


def is_json(media_type: str) -> bool:
    essence = media_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def _form(parts: list[tuple[Placement, Any]], whole: Any) -> bytes:
    pairs: list[tuple[str, str]] = []
    for name, value, style, explode in _members(parts, whole):
        pairs += query_pairs(name, value, style, explode=explode)
    return "&".join(f"{name}={value}" for name, value in pairs).encode()


def _members(parts: list[tuple[Placement, Any]], whole: Any) -> Iterator[tuple[str, Any, Style, bool]]:
    """Name, value, style, explode; of a body that is one argument, its members in the usual style."""
    for placed, value in parts:
        if placed.place is Place.BODY:
            yield placed.name, value, placed.style, placed.explode
    if isinstance(whole, Mapping):
        for name, value in whole.items():
            yield name, value, Style.JSON if isinstance(value, Mapping) else Style.FORM, True


def _multipart(parts: list[tuple[Placement, Any]], whole: Any) -> tuple[bytes, str]:
    """Fields without files (RFC 7578): a list repeats its name, an object is a part of JSON."""
    boundary = secrets.token_hex(16)
    lines: list[bytes] = []
    for name, value, _, _ in _members(parts, whole):
        # RFC 7578, 4.2 with the escapes that browsers use
        escaped = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        for item in value if isinstance(value, list) else [value]:
            if item is None:
                continue
            lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{escaped}"\r\n'.encode())
            if isinstance(item, Mapping | list):
                lines.append(b"Content-Type: application/json\r\n")
            lines.append(b"\r\n" + plain(item).encode() + b"\r\n")
    lines.append(f"--{boundary}--\r\n".encode())
    return b"".join(lines), f"{MULTIPART}; boundary={boundary}"


def credential_pair(name: str, value: str) -> tuple[str, str]:
    """A key as one pair of a query or a cookie."""
    return encoded(name), encoded(value)


def _bad(message: str) -> CallFault:
    return CallFault(CallStatus.BAD_ARGUMENTS, message)
