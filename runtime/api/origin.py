"""Keeps other web sites' scripts away from a server that trusts whoever can reach it.

A page that a person visits can make their browser send requests to 127.0.0.1. Browsers then say where the page came
from (`Origin`) and by which name they reached us (`Host`, which DNS rebinding cannot hide); both must be ours. Clients
that are no browsers send no `Origin` and pass.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from runtime.settings import is_loopback


class SameOriginOnly:
    """ASGI middleware.

    Args:
        hosts: names, beside loopback's, under which the server may be reached.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        problem = self._problem(headers.get("host", ""), headers.get("origin"))
        if problem is None:
            return await self._app(scope, receive, send)
        error = {"message": problem, "type": "invalid_request_error", "param": None, "code": "foreign_origin"}
        await JSONResponse({"error": error}, status_code=403)(scope, receive, send)

    def _problem(self, host: str, origin: str | None) -> str | None:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
            source = urlsplit(origin).netloc.lower() if origin else None
        except ValueError:
            return "the headers Host and Origin cannot be read"
        if not is_loopback(name) and name not in self._hosts:
            return f"this server is not known as {name!r}; add the name to allowed_hosts (HONE_ALLOWED_HOSTS)"
        if source is not None and source != host.lower():
            return f"requests from pages of {origin!r} are not served"
        return None
