"""Follows redirects of reads: each hop is a new request through the same guarded client, or the end.

The rules (RFC 9110, 15.4 and 17.16.3; what curl and browsers came to): few hops; from https never back to http; and
where the origin changes, only the headers that say what the client can read go along, so that neither credentials nor
keys nor signatures, whatever their header is called, reach a server that they were not given to. Where the server that
was given a secret writes it into the address of another one, the redirect is not followed.
"""

from urllib.parse import unquote

import httpx2

from tools.errors import DestinationRefused
from tools.redaction import Redaction
from tools.transport import port_of, public_form

MAX_REDIRECTS = 5
_MAX_ENCODINGS = 3
_STATUSES = frozenset({301, 302, 303, 307, 308})
_KEPT_ACROSS_ORIGINS = ("accept", "accept-language", "user-agent")


async def send_following(
    client: httpx2.AsyncClient, request: httpx2.Request, *, hidden: Redaction | None = None
) -> httpx2.Response:
    """The last answer, its body unread; the caller closes it.

    Args:
        request: a GET or HEAD; what carries a body or changes something is for `client.send`, at its one address.
        hidden: the secrets that the request carries.

    Raises:
        DestinationRefused: a hop leads where tools may not call.
        httpx2.TransportError, httpx2.InvalidURL: as `client.send`.
    """
    hops = 0
    while True:
        response = await client.send(request, stream=True, follow_redirects=False)
        if response.status_code not in _STATUSES or "location" not in response.headers:
            return response
        await response.aclose()
        hops += 1
        if hops > MAX_REDIRECTS:
            raise DestinationRefused(
                f"{public_form(request.url)} is the end of {MAX_REDIRECTS} redirects, and leads on"
            )
        before, request = request, next_request(request, response.headers["location"])
        if hidden is not None and _origin(request.url) != _origin(before.url) and _shows(request.url, hidden):
            raise DestinationRefused(
                f"{public_form(before.url)} redirects to another server, {request.url.host}, with a secret in the address"
            )


def next_request(request: httpx2.Request, location: str) -> httpx2.Request:
    """Raises: DestinationRefused: it would leave https; httpx2.InvalidURL: the location is no URL."""
    target = request.url.join(location)
    if request.url.scheme == "https" and target.scheme != "https":
        raise DestinationRefused(
            f"{public_form(request.url)} redirects to {public_form(target)}, which is not https: others could read along"
        )
    if _origin(target) == _origin(request.url):
        same = target.copy_with(userinfo=request.url.userinfo)
        return httpx2.Request(request.method, same, headers=request.headers, extensions=request.extensions)
    headers = {name: request.headers[name] for name in _KEPT_ACROSS_ORIGINS if name in request.headers}
    bare = target.copy_with(userinfo=b"")
    return httpx2.Request(request.method, bare, headers=headers, extensions=request.extensions)


def _shows(url: httpx2.URL, hidden: Redaction) -> bool:
    """However often it is percent-encoded, letters too."""
    text = str(url)
    for _ in range(_MAX_ENCODINGS):
        if hidden.clean(text) != text:
            return True
        text = unquote(text)
    return False


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, port_of(url)
