"""Which secrets a tool's calls take, by name, and where each is sent."""

from collections.abc import Iterator, Sequence

from tools.secret_bounds import STDIO, Use
from tools.spec import Auth, ClientCredentialsAuth, HttpBackend, McpBackend, McpHttpServer, McpStdioServer, ToolSpec


def secret_names(spec: ToolSpec) -> list[str]:
    """Sorted, each once."""
    return sorted({use.secret for use in secret_uses(spec)})


def secret_uses(spec: ToolSpec) -> list[Use]:
    match spec.backend:
        case HttpBackend() as backend:
            return list(_of_endpoint(backend, spec.name))
        case McpBackend(server=server):
            return server_uses(server, spec.name)
        case _:
            return []


def server_uses(server: McpStdioServer | McpHttpServer, tool: str | None) -> list[Use]:
    """Of an MCP server's connection."""
    if isinstance(server, McpHttpServer):
        return list(_of_auth(server.auth, server.url, tool))
    return [Use(name, f"{STDIO}{server.command}", tool) for name in server.secret_env.values()]


def token_uses(auth: ClientCredentialsAuth, url: str, tool: str | None) -> tuple[Use, Use]:
    """The credentials go to one server, and the token that they are worth to another."""
    return Use(auth.secret, auth.token_url, tool), Use(auth.secret, url, tool)


def _of_endpoint(backend: HttpBackend, tool: str) -> Iterator[Use]:
    yield from _of_auth(backend.auth, backend.url, tool)
    for placed in backend.layout.placements if backend.layout is not None else ():
        if placed.secret is not None:
            yield Use(placed.secret, backend.url, tool)
    if backend.signing_secret is not None:
        yield Use(backend.signing_secret, backend.url, tool)


def _of_auth(auths: Sequence[Auth], url: str, tool: str | None) -> Iterator[Use]:
    for auth in auths:
        if isinstance(auth, ClientCredentialsAuth):
            yield from token_uses(auth, url, tool)
        else:
            yield Use(auth.secret, url, tool)
