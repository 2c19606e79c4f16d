"""Where a description comes from: a file, or a URL.

`fetch_text` is the one place where an import reaches the network.
"""

import asyncio
from pathlib import Path

import httpx2

from tools.errors import ImportFailed
from tools.importers.openapi.document import MAX_BYTES, Document, read_document

FETCH_LIMIT_S = 30.0
_ACCEPT = "application/json, application/yaml, application/vnd.oai.openapi, */*;q=0.5"


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def load_document(path: Path) -> Document:
    """Raises: ImportFailed: the file cannot be read or is too large; BadImport: it holds no description."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise _too_large(str(path))
        data = path.read_bytes()
    except OSError as e:
        raise ImportFailed(f"{path}: cannot be read: {e.strerror or e}") from e
    return read_document(_text(data, str(path)), source=str(path))


async def fetch_document(url: str, *, client: httpx2.AsyncClient | None = None) -> Document:
    """Raises: ImportFailed: the address gives nothing within 30 seconds; BadImport: it gives no description."""
    shown = url.partition("?")[0]
    text = await fetch_text(url, shown, client=client)
    # Parsing megabytes of YAML takes seconds; the event loop has others to serve.
    return await asyncio.to_thread(read_document, text, source=shown, url=url)


async def fetch_text(url: str, shown: str, *, client: httpx2.AsyncClient | None = None) -> str:
    """One GET, bounded in time and size; redirects are named, not followed.

    Args:
        shown: the address without what may be secret in it.

    Raises: ImportFailed
    """
    own = client if client is not None else httpx2.AsyncClient()
    try:
        async with asyncio.timeout(FETCH_LIMIT_S):
            async with own.stream("GET", url, headers={"accept": _ACCEPT}, follow_redirects=False) as response:
                if response.is_redirect:
                    target = response.headers.get("location", "nowhere").partition("?")[0]
                    raise ImportFailed(f"{shown} redirects to {target}; give that address if you trust it")
                if response.status_code != 200:
                    raise ImportFailed(f"{shown} answered {response.status_code}; check the address")
                return _text(await _bounded(response, shown), shown)
    except TimeoutError as e:
        raise ImportFailed(f"{shown} gave no description within {FETCH_LIMIT_S:g} s") from e
    except (httpx2.HTTPError, httpx2.InvalidURL) as e:
        raise ImportFailed(f"cannot read {shown}: {str(e) or type(e).__name__}") from e
    finally:
        if client is None:
            await own.aclose()


async def _bounded(response: httpx2.Response, shown: str) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_BYTES:
            raise _too_large(shown)
    return bytes(body)


def _too_large(source: str) -> ImportFailed:
    return ImportFailed(f"{source}: larger than {MAX_BYTES:,} bytes; cut it to the operations that you need")


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise ImportFailed(f"{source}: line {line}: not UTF-8 text") from e
