"""What tells that a request was sent before: the client's idempotency key, or that it counts its attempts, as OpenAI's clients do.

Those (Python 3.54, JavaScript of the same time) make a key for each request but send it under no header; at each attempt they send
`x-stainless-retry-count`, 0 at the first, and the same body.
"""

import hashlib
import json
import re
from typing import Annotated

from fastapi import Header, Request

from runtime.agent.admission import Mark
from runtime.errors import BadRequest
from tools.tenancy import caller

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def sent_by() -> str:
    """Who sends the request, at most 128 characters. What one caller sent is never taken for a repetition of another's."""
    who = caller()
    return "" if who is None else hashlib.sha256(json.dumps([who.tenant, who.user]).encode()).hexdigest()


async def mark_of(
    request: Request,
    idempotency_key: Annotated[str | None, Header()] = None,
    x_stainless_retry_count: Annotated[str | None, Header()] = None,
) -> Mark:
    """FastAPI dependency. Raises: BadRequest: a key that cannot be kept."""
    if idempotency_key is not None and not _KEY.fullmatch(idempotency_key):
        raise BadRequest(
            f"Idempotency-Key: {idempotency_key[:80]!r} is no key; give 1 to 255 visible ASCII characters without spaces",
            param="Idempotency-Key",
        )
    digest = hashlib.sha256()
    for part in (request.url.path.encode(), request.headers.get("x-hone-thread", "").encode(), await request.body()):
        digest.update(len(part).to_bytes(8, "big") + part)
    attempt = x_stainless_retry_count or ""
    return Mark(
        caller=sent_by(),
        body_sha256=digest.hexdigest(),
        key=idempotency_key,
        attempt=int(attempt) if re.fullmatch(r"[0-9]{1,4}", attempt) else None,
    )
