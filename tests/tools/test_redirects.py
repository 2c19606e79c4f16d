"""Redirects over real sockets: where they are followed to, and what goes along."""

import ssl
from collections.abc import Callable, Iterable

import httpx2
import pytest
import trustme

from tests.tools.raw_server import raw_server, short_json
from tools.destinations import LOOPBACK, AllowList
from tools.errors import DestinationRefused
from tools.execution import Executor
from tools.redirects import MAX_REDIRECTS, next_request, send_following
from tools.spec import CallStatus, HttpBackend, SideEffect, ToolSpec
from tools.transport import Outbound

SECRETS = {
    "authorization": "Bearer s3cret",
    "x-api-key": "s3cret",
    "cookie": "session=s3cret",
    "webhook-signature": "v1,s3cret",
    "proxy-authorization": "Basic s3cret",
}


def redirecting(to: Callable[[bytes], str | None], status: int = 302) -> Callable[[bytes], Iterable[bytes]]:
    def answer(head: bytes) -> Iterable[bytes]:
        target = to(head)
        if target is None:
            return short_json(head)
        return (f"HTTP/1.1 {status} Moved\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n".encode(),)

    return answer


def from_start(target: str) -> Callable[[bytes], str | None]:
    return lambda head: target if head.startswith(b"GET /start") else None


async def send(url: str, headers: dict[str, str] | None = None) -> httpx2.Response:
    async with Outbound(LOOPBACK).client(timeout=httpx2.Timeout(10)) as client:
        response = await send_following(client, httpx2.Request("GET", url, headers=headers))
        await response.aread()
        await response.aclose()
        return response


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_within_an_origin_everything_goes_along(status: int) -> None:
    with raw_server(redirecting(from_start("/end"), status)) as server:
        response = await send(f"http://127.0.0.1:{server.port}/start", SECRETS)
    assert response.json() == {"ok": True}
    assert server.heads[1].startswith(b"GET /end")
    for name, value in SECRETS.items():
        assert f"{name}: {value}\r\n".encode() in server.heads[1]


async def test_a_user_in_the_url_stays_one_within_the_origin() -> None:
    with raw_server(redirecting(from_start("/end"))) as server:
        await send(f"http://me:pw@127.0.0.1:{server.port}/start")
    assert all(b"Basic bWU6cHc=" in head for head in server.heads)
    assert len(server.heads) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "you:too@127.0.0.1"])
async def test_to_another_origin_no_secret_goes_along_whatever_its_header(host: str) -> None:
    with raw_server() as other, raw_server(redirecting(from_start(f"http://{host}:{other.port}/end"))) as server:
        response = await send(f"http://me:pw@127.0.0.1:{server.port}/start", {**SECRETS, "accept": "text/csv"})
    assert response.json() == {"ok": True}
    (head,) = other.heads
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line}
    assert names <= {b"host", b"accept", b"user-agent", b"accept-encoding"}
    assert b"accept: text/csv" in head


async def test_redirects_end_after_a_few() -> None:
    with (
        raw_server(redirecting(lambda head: "/again")) as server,
        pytest.raises(DestinationRefused, match=f"the end of {MAX_REDIRECTS} redirects"),
    ):
        await send(f"http://127.0.0.1:{server.port}/start")
    assert len(server.heads) == MAX_REDIRECTS + 1


async def test_https_never_leads_back_to_http() -> None:
    authority = trustme.CA()
    server_tls, client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    authority.configure_trust(client_tls)
    with raw_server() as plain:
        target = f"http://127.0.0.1:{plain.port}/end"
        with raw_server(redirecting(from_start(target)), server_tls) as server:
            async with Outbound(LOOPBACK, tls=client_tls).client() as client:
                request = httpx2.Request("GET", f"https://127.0.0.1:{server.port}/start")
                with pytest.raises(DestinationRefused, match="not https"):
                    await send_following(client, request)
        assert plain.visits() == 0


def test_http_may_lead_on_to_https_without_the_credentials() -> None:
    request = httpx2.Request("GET", "http://api.example/x", headers=SECRETS)
    following = next_request(request, "https://api.example/x")
    assert str(following.url) == "https://api.example/x"
    assert not set(SECRETS) & set(following.headers)


async def test_each_hop_is_checked_again() -> None:
    with raw_server() as canary:
        with raw_server(redirecting(from_start(f"http://127.0.0.2:{canary.port}/"))) as server:
            outbound = Outbound(AllowList.parse([f"127.0.0.1:{server.port}"]))
            async with outbound.client() as client:
                with pytest.raises(DestinationRefused, match="loopback"):
                    await send_following(client, httpx2.Request("GET", f"http://127.0.0.1:{server.port}/start"))
        assert canary.visits() == 0


async def test_a_tools_get_follows_and_its_post_does_not() -> None:
    with raw_server(redirecting(lambda head: "/end" if b" /start" in head else None, 307)) as server:
        executor = Executor(outbound=Outbound(LOOPBACK))
        url = f"http://127.0.0.1:{server.port}/start"
        read = ToolSpec(name="x", parameters={"type": "object"}, backend=HttpBackend(url=url, method="GET"))
        write = ToolSpec(
            name="y", parameters={"type": "object"}, backend=HttpBackend(url=url), side_effect=SideEffect.WRITE
        )
        followed = await executor.run(read, {}, call_id="c1")
        stopped = await executor.run(write, {}, call_id="c2")
        await executor.close()
    assert (followed.status, followed.content) == (CallStatus.OK, '{"ok": true}')
    assert stopped.status is CallStatus.FAILED
    assert "redirects to /end" in stopped.content
    assert [head.split()[1] for head in server.heads] == [b"/start", b"/end", b"/start"]
