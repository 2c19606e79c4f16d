"""Credentials that somebody typed into a definition, which is kept and shared as it is written. Pure.

They are told by where they stand (a header `Authorization`, a variable `GITHUB_TOKEN`, `?api_key=` in an address) or by how
they look (`Bearer ...`, `ghp_...`). What is found is refused, with where the value belongs instead: a secret of its own
(`tools.secret_store`), which the definition names. The value itself is never repeated.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from tools.secret_bounds import STDIO, host_entry
from tools.spec import (
    Auth,
    ClientCredentialsAuth,
    HttpBackend,
    McpBackend,
    McpHttpServer,
    McpStdioServer,
    Place,
    RequestLayout,
    ToolSpec,
)

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ENDINGS = ("token", "secret", "password", "passwd", "passphrase", "apikey", "accesskey", "secretkey", "credential")
_WORDS = frozenset({"authorization", "jwt", "pwd", "credentials"})
_WORDS_OF_HEADERS = frozenset({"auth", "key", "cookie", "signature", "pass", "pat", "session"})
"""In a header or a variable; an argument called `sort_key` is no credential."""
_OF_KEYS = frozenset({"api", "access", "secret", "private", "auth", "subscription", "app", "client"})
_LOOKS = re.compile(
    r"(?i:bearer|basic|token|digest|apikey)\s+\S{4,}"
    r"|(?:sk|rk|pk)[-_][A-Za-z0-9_-]{16,}|gh[opsur]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|whsec_\S{16,}|eyJ[\w-]{8,}\.[\w-]{8,}\..*|-----BEGIN .*"
)


def typed_credential(spec: ToolSpec) -> str | None:
    """What is wrong with a definition, with place and remedy; None: it holds no credential."""
    match spec.backend:
        case HttpBackend() as backend:
            return next(_in_endpoint(backend), None)
        case McpBackend(server=server):
            return typed_for_server(server)
        case _:
            return None


def typed_for_server(server: McpHttpServer | McpStdioServer) -> str | None:
    """As `typed_credential`, of an MCP server."""
    return next(_in_program(server) if isinstance(server, McpStdioServer) else _in_server(server), None)


def _in_endpoint(backend: HttpBackend) -> Iterator[str]:
    yield from _in_headers("$.endpoint.headers", backend.headers, backend.url)
    yield from _in_address("$.endpoint.url", backend.url)
    yield from _in_auth("$.endpoint.auth", backend.auth)
    if backend.layout is not None:
        yield from _in_layout(backend.layout, backend.url)


def _in_server(server: McpHttpServer) -> Iterator[str]:
    yield from _in_headers("mcp.headers", server.headers, server.url)
    yield from _in_address("mcp.url", server.url)
    yield from _in_auth("mcp.auth", server.auth)


def _in_headers(place: str, headers: Mapping[str, str], url: str) -> Iterator[str]:
    for name, value in headers.items():
        if value.strip() and (_is_credential(name, in_header=True) or _LOOKS.match(value.strip())):
            yield _told(f"{place}: {name!r}", host_entry(url), _auth("header", name, value))


def _in_address(place: str, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    if parts.username or parts.password:
        yield _told(
            f"{place}: what stands before the @", host_entry(url), {"auth": [{"kind": "basic", "secret": "NAME"}]}
        )
    for name, value in parse_qsl(parts.query):
        if "{" not in value and (_is_credential(name) or name.lower() == "key" or _LOOKS.match(value)):
            yield _told(f"{place}: {name!r}", host_entry(url), _auth("query", name, value))


def _in_auth(place: str, auths: tuple[Auth, ...]) -> Iterator[str]:
    for auth in auths:
        if isinstance(auth, ClientCredentialsAuth):
            yield from _in_address(f"{place}.token_url", auth.token_url)


def _in_layout(layout: RequestLayout, url: str) -> Iterator[str]:
    for placed in layout.placements:
        in_header = placed.place in (Place.HEADER, Place.COOKIE)
        text = placed.fixed if isinstance(placed.fixed, str) else ""
        if text.strip() and (_is_credential(placed.name, in_header=in_header) or _LOOKS.match(text.strip())):
            yield (
                f"the fixed value of {placed.name!r} is a credential, and a definition is kept as it is written; store it "
                f"(hone secrets set NAME --host {host_entry(url)}) and import the tool anew with --secret {placed.name}=NAME"
            )


def _in_program(server: McpStdioServer) -> Iterator[str]:
    host = f"{STDIO}{server.command}"
    for name, value in server.env.items():
        if value.strip() and (_is_credential(name, in_header=True) or _LOOKS.match(value.strip())):
            yield _told(f"mcp.env: {name!r}", host, {"secret_env": {name: "NAME"}})
    for before, value in zip(("", *server.args), server.args, strict=False):
        flag, equals, rest = value.partition("=")
        named, text = (flag, rest) if equals else (before, value)
        is_named = named.startswith("-") and not text.startswith("-") and _is_credential(named)
        if text and (is_named or _LOOKS.match(text)):
            told = _told(f"mcp.args: {named!r}" if is_named else "mcp.args", host, {"secret_env": {"VARIABLE": "NAME"}})
            yield f"{told}; others on this machine can read the arguments of a program"


def _is_credential(name: str, *, in_header: bool = False) -> bool:
    parts = [part.lower() for part in _PARTS.findall(name)]
    if any(part in _WORDS or part.endswith(_ENDINGS) for part in parts):
        return True
    if in_header and not _WORDS_OF_HEADERS.isdisjoint(parts):
        return True
    return any(after == "key" and before in _OF_KEYS for before, after in itertools.pairwise(parts))


def _auth(place: str, name: str, value: str) -> dict[str, object]:
    if name.lower() == "authorization" and value[:6].lower() in ("bearer", "basic "):
        return {"auth": [{"kind": value[:6].strip().lower(), "secret": "NAME"}]}
    return {"auth": [{"kind": "api_key", "place": place, "name": name, "secret": "NAME"}]}


def _told(place: str, host: str, instead: Mapping[str, object]) -> str:
    written = json.dumps(instead)[1:-1]
    return (
        f"{place} is a credential, and a definition is kept as it is written; store it "
        f"(hone secrets set NAME --host {host}) and name it instead: {written}"
    )
