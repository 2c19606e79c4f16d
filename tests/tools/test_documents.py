"""Documents that a developer names by URL, read from real servers."""

import time
from collections.abc import Iterable

import pytest

from tests.tools.raw_server import raw_server
from tests.tools.serving import free_port, to_this_machine
from tools.documents import Fetched, fetch_document
from tools.errors import DestinationRefused, ImportFailed
from tools.transport import Outbound


def answering(status: str, body: bytes) -> Iterable[bytes]:
    return (f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode(), body)


async def test_a_document_comes_as_it_is() -> None:
    with raw_server(lambda _: answering("200 OK", b"openapi: 3.1.0\n")) as server:
        url = f"http://127.0.0.1:{server.port}/api.yaml"
        assert await fetch_document(to_this_machine(), url) == Fetched(b"openapi: 3.1.0\n", url)


async def test_after_a_redirect_it_is_known_where_it_came_from() -> None:
    def moved(head: bytes) -> Iterable[bytes]:
        if b"GET /old" in head:
            return (b"HTTP/1.1 302 Found\r\nlocation: /v2/api.yaml\r\ncontent-length: 0\r\n\r\n",)
        return answering("200 OK", b"openapi: 3.1.0\n")

    with raw_server(moved) as server:
        base = f"http://127.0.0.1:{server.port}"
        assert (await fetch_document(to_this_machine(), f"{base}/old")).url == f"{base}/v2/api.yaml"


async def test_one_in_the_private_network_is_refused_naming_url_and_setting() -> None:
    with pytest.raises(DestinationRefused, match=r"http://10\.0\.0\.1/api\.json is refused.*HONE_ALLOWED_NETWORKS"):
        await fetch_document(Outbound(), "http://10.0.0.1/api.json?key=s3cret")


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [("404 Not Found", b"", "answered 404"), ("200 OK", b"x" * 1001, "limit of 1,000 bytes")],
)
async def test_one_that_cannot_be_read_is_named(status: str, body: bytes, told: str) -> None:
    with raw_server(lambda _: answering(status, body)) as server:
        url = f"http://127.0.0.1:{server.port}/api.json"
        with pytest.raises(ImportFailed, match=rf"{url} cannot be read: .*{told}"):
            await fetch_document(to_this_machine(), f"{url}?key=s3cret", limit_bytes=1_000)


async def test_a_server_that_is_down_is_named() -> None:
    with pytest.raises(ImportFailed, match="cannot be read: All connection attempts failed"):
        await fetch_document(to_this_machine(), f"http://127.0.0.1:{free_port()}/api.json")


async def test_a_server_that_hangs_is_given_up() -> None:
    def late(_: bytes) -> Iterable[bytes]:
        time.sleep(0.5)  # in the server's own thread
        return answering("200 OK", b"{}")

    with raw_server(late) as server, pytest.raises(ImportFailed, match=r"was not read within 0\.1 s"):
        await fetch_document(to_this_machine(), f"http://127.0.0.1:{server.port}/api.json", limit_s=0.1)
