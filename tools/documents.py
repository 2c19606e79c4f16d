"""Reads a document that a developer names by its URL: a tool's definition, an API's description."""

import asyncio
from dataclasses import dataclass

import httpx2

from tools.errors import ImportFailed
from tools.outcome import shorten
from tools.redirects import send_following
from tools.transport import Outbound, public_form

FETCH_LIMIT_S = 30.0
MAX_DOCUMENT_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class Fetched:
    body: bytes
    url: str
    """Where the redirects ended: what addresses in the body are relative to (RFC 3986, 5.1.3)."""


async def fetch_document(
    outbound: Outbound,
    url: str,
    *,
    accept: str = "application/json, application/yaml;q=0.9, */*;q=0.1",
    limit_bytes: int = MAX_DOCUMENT_BYTES,
    limit_s: float = FETCH_LIMIT_S,
) -> Fetched:
    """A 200 answer.

    Raises:
        DestinationRefused: the URL or a redirect leads where tools may not call.
        ImportFailed: it cannot be had; the message names the URL.
    """
    await outbound.check(url)
    parsed = httpx2.URL(url)
    try:
        async with asyncio.timeout(limit_s), outbound.client() as client:
            response = await send_following(client, httpx2.Request("GET", parsed, headers={"accept": accept}))
            try:
                return Fetched(await _body(response, limit_bytes), str(response.url))
            finally:
                await response.aclose()
    except TimeoutError as e:
        raise ImportFailed(f"{public_form(parsed)} was not read within {limit_s:g} s") from e
    except (httpx2.HTTPError, httpx2.InvalidURL) as e:
        reason = shorten(str(e), 200) or type(e).__name__
        raise ImportFailed(f"{public_form(parsed)} cannot be read: {reason}") from e


async def _body(response: httpx2.Response, limit: int) -> bytes:
    if response.status_code != 200:
        raise httpx2.ReadError(f"it answered {response.status_code}")
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            raise httpx2.ReadError(f"it is larger than the limit of {limit:,} bytes")
    return bytes(body)
