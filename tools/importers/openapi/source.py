"""Where a description comes from: a file, or a URL."""

import asyncio
from pathlib import Path

from tools.documents import fetch_document
from tools.errors import ImportFailed
from tools.importers.openapi.document import MAX_BYTES, Document, read_document
from tools.transport import Outbound, public_form

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


async def fetch_description(outbound: Outbound, url: str) -> Document:
    """
    Raises:
        DestinationRefused: the URL or a redirect leads where tools may not call.
        ImportFailed: the address gives nothing; BadImport: it gives no description.
    """
    fetched = await fetch_document(outbound, url, accept=_ACCEPT, limit_bytes=MAX_BYTES)
    shown = public_form(url)
    text = _text(fetched.body, shown)
    # Parsing megabytes of YAML takes seconds; the event loop has others to serve.
    return await asyncio.to_thread(read_document, text, source=shown, url=fetched.url)


def _too_large(source: str) -> ImportFailed:
    return ImportFailed(f"{source}: larger than {MAX_BYTES:,} bytes; cut it to the operations that you need")


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        raise ImportFailed(f"{source}: line {line}: not UTF-8 text") from e
