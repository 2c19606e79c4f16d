"""What an OpenAPI description can make hone call: its own address, its servers, its token server; each only where allowed."""

import json
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.tools.bound_secrets import bound_to
from tests.tools.openapi_specs import operation, spec, surveyed
from tests.tools.raw_server import RawServer, raw_server
from tools.destinations import AllowList
from tools.errors import DestinationRefused
from tools.execution import CallResult, Executor
from tools.importers.openapi import fetch_description
from tools.importers.survey import Survey
from tools.reach import called_addresses, within_reach
from tools.spec import CallStatus
from tools.transport import Outbound

TOKENS = {"access_token": "tok-1-x9", "expires_in": 100}


@pytest.fixture
def service() -> Iterator[RawServer]:
    """Where the imported tools call."""
    with raw_server() as server:
        yield server


@pytest.fixture
def token_server() -> Iterator[RawServer]:
    with raw_server(lambda _: answered(TOKENS)) as server:
        yield server


def answered(body: object) -> Iterable[bytes]:
    data = json.dumps(body).encode()
    return (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data), data)


def redirecting(to: str, status: str = "302 Found") -> Callable[[bytes], Iterable[bytes]]:
    return lambda _: (f"HTTP/1.1 {status}\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode(),)


def url_of(server: RawServer, path: str = "") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def allowing(*servers: RawServer) -> Outbound:
    return Outbound(AllowList.parse(f"127.0.0.1:{server.port}" for server in servers))


def pets(service: RawServer, token_server: RawServer | None = None) -> Survey:
    """One GET at `service`; with a token from `token_server`, if there is one."""
    paths = {"/pets/{id}": {"get": operation(operationId="getPet", parameters=[ID])}}
    if token_server is None:
        return surveyed(spec(paths), base_url=url_of(service))
    flow = {"clientCredentials": {"tokenUrl": url_of(token_server, "/token"), "scopes": {}}}
    schemes = {"securitySchemes": {"oauth": {"type": "oauth2", "flows": flow}}}
    return surveyed(spec(paths, components=schemes, security=[{"oauth": []}]), base_url=url_of(service))


ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


UNSET = bound_to()


async def called(found: Survey, outbound: Outbound) -> CallResult:
    (tool,) = found.tools
    executor = Executor(outbound=outbound, secrets=bound_to(*called_addresses(tool), OAUTH="ann:p@ss/word"))
    try:
        return await executor.run(tool, {"id": "7"}, call_id="c1")
    finally:
        await executor.close()


async def test_a_description_in_the_private_network_is_read_only_where_it_is_allowed() -> None:
    with raw_server(lambda _: answered(spec({}))) as site:
        with pytest.raises(DestinationRefused, match=rf"{url_of(site)}/api\.json is refused: .*HONE_ALLOWED_NETWORKS"):
            await fetch_description(Outbound(), url_of(site, "/api.json?key=s3cret"))
        assert site.visits() == 0
        document = await fetch_description(allowing(site), url_of(site, "/api.json"))
    assert document.root["paths"] == {}


async def test_a_description_does_not_redirect_into_the_private_network(service: RawServer) -> None:
    with (
        raw_server(redirecting(url_of(service, "/api.json"))) as site,
        pytest.raises(DestinationRefused, match="loopback"),
    ):
        await fetch_description(allowing(site), url_of(site, "/api.json"))
    assert service.visits() == 0


async def test_a_tool_in_the_private_network_is_skipped_at_import_and_not_called_later(service: RawServer) -> None:
    found = pets(service)
    kept = await within_reach(found, Outbound(), UNSET)
    (left_out,) = kept.skipped
    assert (kept.tools, left_out.name) == ((), "getPet")
    assert f"{url_of(service)} is refused: 127.0.0.1 is a loopback address" in left_out.reason

    result = await called(found, Outbound())  # as after the allow-list was shortened
    assert result.status is CallStatus.FAILED
    assert f"{url_of(service)}/pets/7 was not called: 127.0.0.1 is a loopback address" in result.content
    assert service.visits() == 0


async def test_a_tool_in_the_private_network_is_called_where_that_is_allowed(service: RawServer) -> None:
    found = pets(service)
    assert await within_reach(found, allowing(service), UNSET) == found
    assert (await called(found, allowing(service))).status is CallStatus.OK
    assert service.heads[0].startswith(b"GET /pets/7 ")


async def test_a_token_server_in_the_private_network_is_not_asked(service: RawServer, token_server: RawServer) -> None:
    found = pets(service, token_server)
    kept = await within_reach(found, allowing(service), UNSET)
    assert kept.tools == ()
    assert f"{url_of(token_server)} is refused" in kept.skipped[0].reason

    result = await called(found, allowing(service))
    assert result.status is CallStatus.FAILED
    assert (
        f"the operator name it in allowed_networks (HONE_ALLOWED_NETWORKS: 127.0.0.1:{token_server.port})"
        in result.content
    )
    assert (token_server.visits(), service.visits()) == (0, 0)


async def test_a_token_server_in_the_private_network_is_asked_where_that_is_allowed(
    service: RawServer, token_server: RawServer
) -> None:
    found, outbound = pets(service, token_server), allowing(service, token_server)
    assert await within_reach(found, outbound, UNSET) == found
    assert (await called(found, outbound)).status is CallStatus.OK
    assert b"bearer tok-1-x9" in service.heads[0].lower()


async def test_a_token_server_does_not_redirect_anywhere(service: RawServer) -> None:
    with raw_server() as inside, raw_server(redirecting(url_of(inside), "307 Temporary Redirect")) as token_server:
        result = await called(pets(service, token_server), allowing(service, token_server, inside))
        assert (inside.visits(), service.visits()) == (0, 0)
    assert "answered 307 and gave no token" in result.content


async def test_an_imported_tool_does_not_redirect_into_the_private_network(token_server: RawServer) -> None:
    with raw_server() as inside, raw_server(redirecting(url_of(inside, "/x"))) as service:
        found = pets(service, token_server)
        result = await called(found, allowing(service, token_server))
        assert inside.visits() == 0
        assert result.status is CallStatus.FAILED
        assert "loopback" in result.content

        await called(found, allowing(service, token_server, inside))
        (head,) = inside.heads
    assert b"authorization" not in head.lower()  # another origin: the token stays where it belongs


async def test_the_rest_of_an_import_is_kept(service: RawServer) -> None:
    elsewhere = {**operation(operationId="far"), "servers": [{"url": url_of(service)}]}
    root = spec({"/near": {"get": operation(operationId="near")}, "/far": {"get": elsewhere}})
    root["servers"] = [{"url": "https://93.184.215.14"}]
    kept = await within_reach(surveyed(root), Outbound(), UNSET)
    assert [tool.name for tool in kept.tools] == ["near"]
    assert [part.name for part in kept.skipped] == ["far"]
