"""The guarded client over real sockets: what it connects to, whom it believes, and what it reads."""

import ast
import asyncio
import gzip
import ssl
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import httpx2
import pytest
import trustme

import tools
from tests.tools.raw_server import raw_server
from tools.destinations import LOOPBACK, AllowList
from tools.errors import DestinationRefused
from tools.execution import Executor
from tools.spec import CallStatus, HttpBackend, McpBackend, McpHttpServer, ToolSpec
from tools.transport import MAX_BODY_BYTES, Outbound, SystemResolver


class Names:
    """A name server that answers from a table, its entries in turn, the last again and again."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name: list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        given = self._answers[name.partition(".")[0]]
        return given.pop(0) if len(given) > 1 else given[0]


def allowing(*entries: str, **names: Sequence[Sequence[str]]) -> Outbound:
    return Outbound(AllowList.parse(entries), resolve=Names(**names))


async def get(outbound: Outbound, url: str) -> httpx2.Response:
    async with outbound.client(timeout=httpx2.Timeout(10)) as client:
        return await client.get(url)


async def test_an_allowed_name_is_reached_and_the_host_header_keeps_it() -> None:
    with raw_server() as server:
        outbound = allowing("api.example", api=(["127.0.0.1"],))
        answer = await get(outbound, f"http://api.example:{server.port}/a?b=c")
    assert answer.json() == {"ok": True}
    assert server.heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"host: api.example:{server.port}\r\n".encode() in server.heads[0].lower()


async def test_a_host_is_looked_up_once_and_its_checked_address_connected_to() -> None:
    """A name server that changes its mind finds nobody listening to it."""
    names = Names(api=(["127.0.0.2"], ["127.0.0.1"]))
    with raw_server() as server:
        outbound = Outbound(AllowList.parse(["127.0.0.2"]), resolve=names)
        async with outbound.client() as client:
            first = await client.get(f"http://api.example:{server.port}/")
            again = await client.get(f"http://api.example:{server.port}/")  # on the connection that was checked
        assert (first.status_code, again.status_code, names.asked) == (200, 200, ["api.example"])
        assert server.visits() == 1
        with pytest.raises(DestinationRefused, match=r"'api\.example' leads to a loopback address"):
            await get(outbound, f"http://api.example:{server.port}/")
        assert server.visits() == 1


async def test_of_several_addresses_only_permitted_ones_are_tried() -> None:
    outbound = allowing(mixed=(["10.0.0.1", "93.184.215.14", "::1", "93.184.215.14"],))
    assert [str(address) for address in await outbound.permitted("mixed.example", 443)] == ["93.184.215.14"]


async def test_an_address_where_nobody_listens_gives_way_to_the_next() -> None:
    with raw_server() as server:
        # 0.0.0.0/8 opened: 0.0.0.1 is no address of any machine, so connecting to it fails at once
        outbound = allowing("0.0.0.0/8", "127.0.0.1", api=(["0.0.0.1", "127.0.0.1"],))
        assert (await get(outbound, f"http://api.example:{server.port}/")).status_code == 200


async def test_an_operators_ports_hold_for_public_addresses_and_not_for_what_is_allowed() -> None:
    outbound = Outbound(
        AllowList.parse(["10.0.0.1", "known.example"]), ports=[443], resolve=Names(known=(["1.1.1.1"],))
    )
    assert await outbound.permitted("1.1.1.1", 443)
    assert await outbound.permitted("10.0.0.1", 8080)
    assert await outbound.permitted("known.example", 8080)
    with pytest.raises(DestinationRefused, match=r"port 8080 is not open to tools .*HONE_OUTBOUND_PORTS: 443"):
        await outbound.permitted("1.1.1.1", 8080)


async def test_a_refusal_names_the_entry_that_would_allow_it_and_not_the_address_behind_a_name() -> None:
    outbound = allowing(intranet=(["10.7.7.7"],), meta=(["169.254.169.254"],))
    with pytest.raises(DestinationRefused) as private:
        await outbound.check("http://me:pw@intranet.example:8080/x?key=s3cret")
    told = str(private.value)
    assert told.startswith("http://intranet.example:8080/x is refused: 'intranet.example' leads to a private address")
    assert "HONE_ALLOWED_NETWORKS: intranet.example:8080" in told
    assert not any(secret in told for secret in ("10.7.7.7", "pw", "s3cret"))
    with pytest.raises(DestinationRefused, match=r"cloud metadata.*HONE_ALLOWED_NETWORKS takes the address itself"):
        await outbound.check("http://meta.example/")
    with pytest.raises(DestinationRefused, match=r"HONE_ALLOWED_NETWORKS: \[fd00::1\]:443"):
        await outbound.check("https://[fd00::1]/")
    # what a refusal proposes does open it
    opened = Outbound(
        AllowList.parse(["intranet.example:8080", "[fd00::1]:443"]), resolve=Names(intranet=(["10.7.7.7"],))
    )
    await opened.check("http://intranet.example:8080/")
    await opened.check("https://[fd00::1]/")


async def test_a_host_that_is_not_there_is_taken_at_registration_and_fails_at_the_call() -> None:
    async def nowhere(name: str) -> Sequence[str]:
        raise OSError("Name or service not known")

    outbound = Outbound(resolve=nowhere)
    await outbound.check("https://later.example/")
    with pytest.raises(httpx2.ConnectError, match=r"no host 'later.example' was found: Name or service not known"):
        await get(outbound, "https://later.example/")


async def test_a_name_server_that_hangs_is_given_up() -> None:
    async def hangs(name: str) -> Sequence[str]:
        async with asyncio.timeout(0.05):
            await asyncio.Event().wait()
        raise AssertionError("unreachable")

    with pytest.raises(httpx2.ConnectTimeout, match=r"name server gave no answer for 'slow\.example'"):
        await get(Outbound(resolve=hangs), "http://slow.example/")


async def test_the_systems_resolver_finds_this_machine() -> None:
    assert set(await SystemResolver()("localhost")) <= {"127.0.0.1", "::1"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def served_as(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA, *entries: str, **names: Sequence[Sequence[str]]) -> Outbound:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return Outbound(AllowList.parse(entries), resolve=Names(**names), tls=context)


async def test_tls_asks_for_the_name_and_checks_it_though_the_socket_goes_to_an_address(authority: trustme.CA) -> None:
    with raw_server(tls=served_as(authority, "api.example")) as server:
        outbound = trusting(authority, "127.0.0.1", api=(["127.0.0.1"],))
        answer = await get(outbound, f"https://api.example:{server.port}/")
    assert answer.json() == {"ok": True}
    assert server.server_names == ["api.example"]
    assert f"host: api.example:{server.port}\r\n".encode() in server.heads[0].lower()


async def test_a_connection_for_one_name_serves_no_other_name_at_the_same_address(authority: trustme.CA) -> None:
    with raw_server(tls=served_as(authority, "api.example")) as server:
        outbound = trusting(authority, "127.0.0.1", api=(["127.0.0.1"],), other=(["127.0.0.1"],))
        async with outbound.client() as client:
            assert (await client.get(f"https://api.example:{server.port}/")).status_code == 200
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await client.get(f"https://other.example:{server.port}/")
    assert server.server_names == ["api.example", "other.example"]
    assert len(server.heads) == 1


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(authority: trustme.CA) -> None:
    with (
        raw_server(tls=served_as(authority, "api.example")) as server,
        pytest.raises(httpx2.ConnectError, match="certificate"),
    ):
        await get(allowing("127.0.0.1", api=(["127.0.0.1"],)), f"https://api.example:{server.port}/")
    assert server.heads == []


def response(headers: str, *pieces: bytes) -> Iterable[bytes]:
    yield f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\n".encode()
    yield from pieces


async def test_a_compressed_answer_is_not_unpacked() -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    headers = f"content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}"
    with raw_server(lambda _: response(headers, bomb)) as server:
        executor = Executor(outbound=Outbound(LOOPBACK))
        backend = HttpBackend(url=f"http://127.0.0.1:{server.port}/", headers={"Accept-Encoding": "gzip"})
        result = await executor.run(ToolSpec(name="x", parameters={"type": "object"}, backend=backend), {}, call_id="c")
        await executor.close()
    assert result.status is CallStatus.FAILED
    assert "encoded as 'gzip'" in result.content
    assert server.heads[0].lower().count(b"accept-encoding: ") == 1
    assert b"accept-encoding: identity\r\n" in server.heads[0].lower()


def without_end(_: bytes) -> Iterable[bytes]:
    return response("content-type: application/json", b'"', *(b"x" * 1_000_000 for _ in range(200)))


async def test_an_endless_answer_is_cut_off_whoever_reads_it() -> None:
    with raw_server(without_end) as server:
        async with Outbound(LOOPBACK).client() as client:
            with pytest.raises(httpx2.ReadError, match=f"larger than the limit of {MAX_BODY_BYTES:,} bytes"):
                await client.get(f"http://127.0.0.1:{server.port}/")


async def test_an_mcp_server_that_answers_without_end_is_a_failure() -> None:
    with raw_server(without_end) as server:
        executor = Executor(outbound=Outbound(LOOPBACK))
        backend = McpBackend(server=McpHttpServer(url=f"http://127.0.0.1:{server.port}/mcp"), remote_name="x")
        spec = ToolSpec(name="x", parameters={"type": "object"}, backend=backend, timeout_s=30)
        result = await executor.run(spec, {}, call_id="c")
        await executor.close()
    assert result.status is CallStatus.FAILED
    assert "larger than the limit" in result.content


async def test_a_server_that_trickles_runs_out_of_the_tools_time() -> None:
    def trickle(_: bytes) -> Iterable[bytes]:
        for piece in response("content-type: application/json", *(b" " for _ in range(100))):
            yield piece
            time.sleep(0.05)  # in the server's own thread

    with raw_server(trickle) as server:
        executor = Executor(outbound=Outbound(LOOPBACK))
        backend = HttpBackend(url=f"http://127.0.0.1:{server.port}/", method="GET")
        spec = ToolSpec(name="x", parameters={"type": "object"}, backend=backend, timeout_s=0.3)
        result = await executor.run(spec, {}, call_id="c")
        await executor.close()
    assert result.status is CallStatus.TIMEOUT


async def test_cookies_of_one_call_are_not_sent_with_the_next() -> None:
    """The client is shared by all HTTP tools, hence by all users."""
    with raw_server(lambda _: response("set-cookie: session=alice\r\ncontent-length: 2", b"{}")) as server:
        executor = Executor(outbound=Outbound(LOOPBACK))
        backend = HttpBackend(url=f"http://127.0.0.1:{server.port}/")
        spec = ToolSpec(name="x", parameters={"type": "object"}, backend=backend)
        for call_id in ("c1", "c2"):
            assert (await executor.run(spec, {}, call_id=call_id)).status is CallStatus.OK
        await executor.close()
    assert not any(b"cookie:" in head.lower() for head in server.heads)


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server() as proxy, raw_server() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await get(Outbound(LOOPBACK), f"http://127.0.0.1:{server.port}/")).status_code == 200
        assert proxy.visits() == 0


async def test_a_local_socket_is_out_of_reach() -> None:
    """httpx2's own transport would take one; ours has no way to be given it."""
    from tools.transport import _PinnedBackend

    with pytest.raises(DestinationRefused, match="no local sockets"):
        await _PinnedBackend(Outbound(LOOPBACK)).connect_unix_socket("/var/run/docker.sock")


CONNECTING = {
    f"httpx2.{name}"
    for name in (
        "AsyncClient",
        "Client",
        "AsyncHTTPTransport",
        "get",
        "post",
        "put",
        "patch",
        "delete",
        "request",
        "stream",
    )
}
MODULES = {"socket", "urllib.request", "http.client", "requests", "aiohttp", "httpcore2", "httpx", "urllib3", "ftplib"}


def test_no_other_module_of_tools_opens_a_connection() -> None:
    """`tools.transport` is the one way out, and stays it."""
    for path in sorted(Path(tools.__path__[0]).rglob("*.py")):
        if path.name == "transport.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not MODULES & {alias.name for alias in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in MODULES, path
            elif isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in CONNECTING, path
