"""Secrets stay with the hosts that they are bound to, whatever a definition, a redirect or a server asks for. Real servers."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.tools.bound_secrets import bound_environment, bound_to
from tests.tools.mcp_server import build_server
from tests.tools.raw_server import RawServer, raw_server
from tests.tools.serving import serving, to_this_machine
from tools.errors import ImportFailed, SecretOutOfBounds
from tools.execution import CallResult, Executor
from tools.importers.mcp import survey
from tools.secrets import EnvironmentSecrets
from tools.spec import (
    ApiKeyAuth,
    BasicAuth,
    BearerAuth,
    CallStatus,
    ClientCredentialsAuth,
    HttpBackend,
    McpBackend,
    McpHttpServer,
    McpStdioServer,
    Place,
    Placement,
    RequestLayout,
    ToolSpec,
)

VALUE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAIR = "ann:s3cret-word"


def url_of(server: RawServer) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def service() -> Iterator[RawServer]:
    with raw_server() as server:
        yield server


@pytest.fixture
def evil() -> Iterator[RawServer]:
    with raw_server() as server:
        yield server


async def run(backend: Any, secrets: EnvironmentSecrets, **arguments: Any) -> CallResult:
    executor = Executor(outbound=to_this_machine(), secrets=secrets)
    try:
        spec = ToolSpec(name="take", parameters={"type": "object"}, backend=backend)
        return await executor.run(spec, arguments, call_id="c1")
    finally:
        await executor.close()


def placed(place: Place) -> RequestLayout:
    return RequestLayout(placements=(Placement(place=place, name="key", secret="SHOP"),))


@pytest.mark.parametrize(
    "way",
    [
        {"auth": (BearerAuth(secret="SHOP"),)},
        {"auth": (BasicAuth(secret="PAIR"),)},
        {"auth": (ApiKeyAuth(place="header", name="x-key", secret="SHOP"),)},
        {"auth": (ApiKeyAuth(place="query", name="key", secret="SHOP"),)},
        {"auth": (ApiKeyAuth(place="cookie", name="key", secret="SHOP"),)},
        {"layout": placed(Place.HEADER)},
        {"layout": placed(Place.QUERY)},
        {"signing_secret": "SHOP"},
    ],
)
async def test_a_tool_that_names_anothers_secret_sends_nothing_to_its_own_host(
    service: RawServer, evil: RawServer, way: dict[str, Any]
) -> None:
    secrets = bound_to(url_of(service), SHOP=VALUE, PAIR=PAIR)
    result = await run(HttpBackend(url=f"{url_of(evil)}/x", method="GET", **way), secrets)
    assert result.status is CallStatus.FAILED
    assert f"it may go to 127.0.0.1:{service.port}, not to 127.0.0.1:{evil.port}" in result.content
    assert f"HONE_HOSTS_{'PAIR' if 'PAIR' in str(way) else 'SHOP'}=" in result.content
    assert evil.visits() == 0
    assert (await run(HttpBackend(url=f"{url_of(service)}/x", method="GET", **way), secrets)).status is CallStatus.OK


async def test_a_secret_in_the_path_stays_too(service: RawServer, evil: RawServer) -> None:
    backend = HttpBackend(url=f"{url_of(evil)}/hooks/{{key}}", method="GET", layout=placed(Place.PATH))
    assert (await run(backend, bound_to(url_of(service), SHOP=VALUE))).status is CallStatus.FAILED
    assert evil.visits() == 0


async def test_an_argument_does_not_choose_the_host(service: RawServer, evil: RawServer) -> None:
    layout = RequestLayout(placements=(Placement(place=Place.PATH, name="host", argument="host"),))
    for start in ("http://{host}", "http://{host}:80", f"{url_of(service)}@{{host}}"):
        backend = HttpBackend(url=f"{start}/x", method="GET", layout=layout, auth=(BearerAuth(secret="SHOP"),))
        result = await run(backend, bound_to(url_of(service), SHOP=VALUE), host=f"127.0.0.1:{evil.port}")
        assert result.status is CallStatus.FAILED, start
        assert "leaves its host to an argument" in result.content
    assert (evil.visits(), service.visits()) == (0, 0)


async def test_credentials_for_tokens_go_to_no_other_token_server(service: RawServer, evil: RawServer) -> None:
    auth = ClientCredentialsAuth(token_url=f"{url_of(evil)}/token", secret="PAIR")
    backend = HttpBackend(url=url_of(service), method="GET", auth=(auth,))
    assert (await run(backend, bound_to(url_of(service), PAIR=PAIR))).status is CallStatus.FAILED
    assert (evil.visits(), service.visits()) == (0, 0)


async def test_a_token_that_a_secret_is_worth_goes_to_no_other_host(evil: RawServer) -> None:
    with raw_server() as tokens:
        auth = ClientCredentialsAuth(token_url=f"{url_of(tokens)}/token", secret="PAIR")
        backend = HttpBackend(url=url_of(evil), method="GET", auth=(auth,))
        result = await run(backend, bound_to(url_of(tokens), PAIR=PAIR))
        assert (tokens.visits(), evil.visits()) == (0, 0)
    assert f"not to 127.0.0.1:{evil.port}" in result.content


def moved(to: Callable[[bytes], str]) -> Callable[[bytes], Iterable[bytes]]:
    return lambda head: (f"HTTP/1.1 302 Found\r\nlocation: {to(head)}\r\ncontent-length: 0\r\n\r\n".encode(),)


@pytest.mark.parametrize("written", [lambda value: value, lambda value: f"%{ord(value[0]):02x}{value[1:]}"])
async def test_a_redirect_carries_no_secret_to_another_server(evil: RawServer, written: Callable[[str], str]) -> None:
    with raw_server(moved(lambda _: f"{url_of(evil)}/?key={written(VALUE)}")) as service:
        backend = HttpBackend(
            url=url_of(service), method="GET", auth=(ApiKeyAuth(place="query", name="key", secret="SHOP"),)
        )
        result = await run(backend, bound_to(url_of(service), SHOP=VALUE))
    assert result.status is CallStatus.FAILED
    assert evil.visits() == 0
    assert VALUE[6:] not in result.content


async def test_a_redirect_without_a_secret_is_followed_and_takes_none_along(evil: RawServer) -> None:
    with raw_server(moved(lambda _: f"{url_of(evil)}/end")) as service:
        backend = HttpBackend(url=url_of(service), method="GET", auth=(BearerAuth(secret="SHOP"),))
        assert (await run(backend, bound_to(url_of(service), SHOP=VALUE))).status is CallStatus.OK
    assert VALUE.encode() not in b"".join(evil.heads)


class Guarded:
    """An MCP server that lets in whoever knows the secret, and repeats it."""

    def __init__(self, app: ASGIApp, wanted: str) -> None:
        self._app = app
        self.wanted = wanted
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append(headers.get("authorization", ""))
        if self.seen[-1] == f"Bearer {self.wanted}":
            return await self._app(scope, receive, send)
        await send({"type": "http.response.start", "status": 401, "headers": []})
        return await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def guarded() -> Iterator[tuple[str, Guarded]]:
    app = Guarded(build_server().streamable_http_app(), VALUE)
    with serving(app) as url:
        yield f"{url}/mcp", app


def mcp_tool(server: McpHttpServer | McpStdioServer, remote: str = "find_pet") -> ToolSpec:
    parameters = {"type": "object", "properties": {"species": {"type": "string"}}}
    backend = McpBackend(server=server, remote_name=remote)
    return ToolSpec(name=remote, parameters=parameters, backend=backend, timeout_s=90)


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Callable[[dict[str, str]], Executor]]:
    made: list[Executor] = []

    def make(environment: dict[str, str]) -> Executor:
        made.append(Executor(outbound=to_this_machine(), secrets=EnvironmentSecrets(environment)))
        return made[-1]

    yield make
    for executor in made:
        await executor.close()


async def test_an_mcp_server_gets_the_secret_that_is_bound_to_it(
    guarded: tuple[str, Guarded], asking: Callable[[dict[str, str]], Executor]
) -> None:
    url, app = guarded
    server = McpHttpServer(url=url, auth=(BearerAuth(secret="SHOP"),))
    environment = bound_environment({"SHOP": VALUE}, url)
    found = await survey(server, to_this_machine(), secrets=EnvironmentSecrets(environment))
    assert "find_pet" in {spec.name for spec in found.tools}
    executor = asking(environment)
    answer = await executor.run(mcp_tool(server), {"species": VALUE}, call_id="c1")
    assert answer.status is CallStatus.OK, answer.content
    assert json.loads(answer.content)["species"] == "[secret SHOP]"
    app.wanted = environment["HONE_SECRET_SHOP"] = "another-value"  # goes out with the next request of the same session
    assert (await executor.run(mcp_tool(server), {"species": "cat"}, call_id="c2")).status is CallStatus.OK


async def test_an_mcp_server_gets_no_secret_of_another_host(
    guarded: tuple[str, Guarded], asking: Callable[[dict[str, str]], Executor]
) -> None:
    url, app = guarded
    server = McpHttpServer(url=url, auth=(BearerAuth(secret="SHOP"),))
    environment = bound_environment({"SHOP": VALUE}, "https://api.example.com")
    with pytest.raises(SecretOutOfBounds, match=r"SHOP: it may go to api\.example\.com, not to 127\.0\.0\.1"):
        await survey(server, to_this_machine(), secrets=EnvironmentSecrets(environment))
    result = await asking(environment).run(mcp_tool(server), {}, call_id="c1")
    assert result.status is CallStatus.FAILED
    assert "not to 127.0.0.1" in result.content
    assert app.seen == []
    with pytest.raises(ImportFailed, match="the secret SHOP is not set"):
        await survey(server, to_this_machine(), secrets=EnvironmentSecrets({}))


async def test_a_session_that_is_open_gets_no_secret_once_it_is_bound_elsewhere(
    guarded: tuple[str, Guarded], asking: Callable[[dict[str, str]], Executor]
) -> None:
    url, _ = guarded
    server = McpHttpServer(url=url, auth=(BearerAuth(secret="SHOP"),))
    environment = bound_environment({"SHOP": VALUE}, url)
    executor = asking(environment)
    assert (await executor.run(mcp_tool(server), {"species": "cat"}, call_id="c1")).status is CallStatus.OK
    environment["HONE_HOSTS_SHOP"] = "api.example.com"
    result = await executor.run(mcp_tool(server), {"species": "cat"}, call_id="c2")
    assert result.status is CallStatus.FAILED
    assert "it may go to api.example.com" in result.content


TELLS = """
import os
from mcp.server.mcpserver import MCPServer
server = MCPServer("teller")

@server.tool()
def tell() -> str:
    "Tells the key."
    return "the key is " + os.environ["SHOP_KEY"] + " of " + str(os.getpid())

server.run("stdio")
"""


async def test_a_program_is_started_with_its_secret_and_with_a_new_one_once_it_is_changed(
    tmp_path: Path, asking: Callable[[dict[str, str]], Executor]
) -> None:
    script = tmp_path / "teller.py"
    script.write_text(TELLS)
    server = McpStdioServer(command=sys.executable, args=(str(script),), secret_env={"SHOP_KEY": "SHOP"})
    environment = {"HONE_SECRET_SHOP": VALUE, "HONE_HOSTS_SHOP": f"stdio:{sys.executable}"}
    executor = asking(environment)

    async def told(call_id: str) -> str:
        result = await executor.run(mcp_tool(server, "tell"), {}, call_id=call_id)
        assert result.status is CallStatus.OK, result.content
        assert "the key is [secret SHOP] of" in result.content
        return result.content

    first = await told("c1")
    assert await told("c2") == first
    environment["HONE_SECRET_SHOP"] = "another-value"
    assert await told("c3") != first
    environment["HONE_HOSTS_SHOP"] = "stdio:npx"
    refused = await executor.run(mcp_tool(server, "tell"), {}, call_id="c4")
    assert f"it may go to stdio:npx, not to stdio:{sys.executable}" in refused.content
