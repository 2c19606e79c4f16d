"""The one way out: all HTTP that tools cause goes through a client of an `Outbound`.

The check sits where the connection is made, not where the URL is read: a host is looked up once, each address is held
against `tools.destinations`, and the socket goes to an address that passed. There is no second lookup that could answer
differently, and no second parser that could read the URL differently. TLS and the Host header keep the URL's name, and
connections are pooled by it, so that one opened for a name serves no other.

What it is not: a proxy (HTTP_PROXY would look names up elsewhere, so the environment is not asked), and no fence around
MCP servers over stdio, which are programs with a network of their own.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeAlias, cast

import httpcore2
import httpx2

from tools.destinations import OPENED_BY_NAME, AllowList, IPAddress, Kind, kind_of, read_address, read_host
from tools.errors import DestinationRefused

Resolver: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""From a host name to its addresses, as text. Raises: OSError: it has none."""

MAX_BODY_BYTES = 20_000_000
"""Of one answer, whoever reads it; twice the largest result that a tool may be allowed. Event streams have their own."""
LOOKUP_LIMIT_S = 5.0
ATTEMPT_LIMIT_S = 3.0
"""For each address of a host but the last one."""
MAX_ADDRESSES = 8
_LOOKUP_THREADS = 8
_KEEPALIVE_S = 5.0
_EVENT_STREAM = "text/event-stream"
_LOG = logging.getLogger(__name__)


class SystemResolver:
    """The system's resolver, in threads of its own: slow name servers hold up lookups and nothing else."""

    def __init__(self, *, limit_s: float = LOOKUP_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._threads = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")

    async def __call__(self, name: str) -> Sequence[str]:
        async with asyncio.timeout(self._limit_s):  # its TimeoutError is an OSError
            found = await asyncio.get_running_loop().run_in_executor(self._threads, _addresses_of, name)
        return found


def _addresses_of(name: str) -> list[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


class Outbound:
    """Who may be called, and clients that call nobody else."""

    def __init__(
        self,
        allowed: AllowList | None = None,
        *,
        ports: Collection[int] = (),
        resolve: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """
        Args:
            allowed: what may be called beside public addresses; None: nothing.
            ports: the only ones that may be called where `allowed` names no destination; empty: all.
            resolve: finds the addresses of a host; None: as the system does.
            tls: whose certificates are believed; None: what the system believes.
        """
        self._allowed = allowed if allowed is not None else AllowList()
        self._ports = frozenset(ports)
        self._resolve = resolve if resolve is not None else SystemResolver()
        self._given_tls = tls

    @property
    def allowed(self) -> AllowList:
        """What may be called beside public addresses."""
        return self._allowed

    def client(
        self,
        *,
        headers: Mapping[str, str] | None = None,
        auth: httpx2.Auth | None = None,
        timeout: httpx2.Timeout | None = None,
        cookies: bool = False,
    ) -> httpx2.AsyncClient:
        """A client with connections of its own, to be closed by the caller. It follows no redirect by itself.

        Args:
            timeout: None: the caller sets a limit of its own around each request.
            cookies: keep what servers set, and send it back to them; not where users or tools share the client.
        """
        return httpx2.AsyncClient(
            transport=_GuardedTransport(self, self._tls),
            headers=headers,
            auth=auth,
            timeout=timeout,
            cookies=CookieJar() if cookies else CookieJar(DefaultCookiePolicy(allowed_domains=())),
            trust_env=False,
            follow_redirects=False,
        )

    async def check(self, url: str) -> None:
        """Tells a developer at registration what calls would be told later; each call is checked all the same.

        A host that cannot be found now is no fault: it may come up before it is called.

        Raises: DestinationRefused: naming the URL and the setting.
        """
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL as e:
            raise DestinationRefused(f"{url!r} is no URL: {e}") from e
        check_form(parsed)
        try:
            await self.permitted(parsed.host, port_of(parsed))
        except DestinationRefused as e:
            raise DestinationRefused(f"{public_form(parsed)} is refused: {e}") from e
        except OSError as e:
            _LOG.info("the host of %s cannot be found yet: %s", public_form(parsed), e)

    async def permitted(self, host: str, port: int) -> list[IPAddress]:
        """The addresses of a host that may be connected to, in the resolver's order.

        Raises:
            DestinationRefused: there are none.
            OSError: the host cannot be found.
        """
        try:
            target = read_host(host)
            name = target if isinstance(target, str) else None
            found = [target] if not isinstance(target, str) else [read_address(a) for a in await self._resolve(target)]
        except ValueError as e:
            raise DestinationRefused(str(e)) from e
        if not found:
            raise OSError(f"{host!r} has no address")
        good = [address for address in dict.fromkeys(found) if self._fault(name, address, port) is None]
        if good:
            return good[:MAX_ADDRESSES]
        fault = self._fault(name, found[0], port)
        _LOG.warning("no call to %s, port %d, at %s: not allowed", host, port, found[0])
        raise DestinationRefused(fault)

    def _fault(self, name: str | None, address: IPAddress, port: int) -> str | None:
        kind = kind_of(address)
        if self._allowed.covers(name, address, kind, port):
            return None
        if kind is not None:
            return _explain(name, address, kind, port)
        if self._ports and port not in self._ports:
            open_ports = ", ".join(str(known) for known in sorted(self._ports))
            return f"port {port} is not open to tools (outbound_ports, HONE_OUTBOUND_PORTS: {open_ports})"
        return None

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls if self._given_tls is not None else httpx2.create_ssl_context()


def _explain(name: str | None, address: IPAddress, kind: Kind, port: int) -> str:
    """The address behind a name is not told: who registers a tool need not learn the operator's network."""
    subject = f"{name!r} leads to" if name is not None else f"{address} is"
    literal = f"[{address}]" if address.version == 6 else str(address)
    entry = f": {name or literal}:{port}" if name is None or kind in OPENED_BY_NAME else " takes the address itself"
    return (
        f"{subject} a {kind.value} address, which tools may not call; "
        f"only the operator can allow it, in allowed_networks (HONE_ALLOWED_NETWORKS{entry})"
    )


class _PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Opens sockets to addresses that were checked, and to nothing else."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        # the type checker sees the stand-in that httpcore2 has for machines without anyio
        self._sockets = cast(httpcore2.AsyncNetworkBackend, httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            addresses = await self._outbound.permitted(host, port)
        except TimeoutError as e:
            raise httpcore2.ConnectTimeout(f"the name server gave no answer for {host!r}") from e
        except OSError as e:
            raise httpcore2.ConnectError(f"no host {host!r} was found: {e}") from e
        for address in addresses[:-1]:
            limit = ATTEMPT_LIMIT_S if timeout is None else min(timeout, ATTEMPT_LIMIT_S)
            with contextlib.suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return await self._sockets.connect_tcp(str(address), port, limit, local_address, socket_options)
        return await self._sockets.connect_tcp(str(addresses[-1]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, path: str, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        raise DestinationRefused(f"{path!r}: tools call no local sockets")

    async def sleep(self, seconds: float) -> None:
        await self._sockets.sleep(seconds)


class _GuardedTransport(httpx2.AsyncBaseTransport):
    """httpx2 over httpcore2's pool, as its own transport is, with the sockets of `_PinnedBackend`.

    Compressed answers are neither asked for nor taken: what is read off the wire is then all that memory must hold.
    """

    def __init__(self, outbound: Outbound, tls: ssl.SSLContext) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=_KEEPALIVE_S,
            network_backend=_PinnedBackend(outbound),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        check_form(url)
        sent = [(name, value) for name, value in request.headers.raw if name.lower() != b"accept-encoding"]
        wire = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=[*sent, (b"accept-encoding", b"identity")],
            content=request.stream,
            extensions={"timeout": request.extensions.get("timeout", {})},
        )
        with _errors_as_httpx2():
            answer = await self._pool.handle_async_request(wire)
        headers = httpx2.Headers(answer.headers)
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", ""):
            await answer.aclose()
            raise httpx2.DecodingError(f"the answer is encoded as {encoding!r}, though it was asked for as it is")
        limit = None if headers.get("content-type", "").startswith(_EVENT_STREAM) else MAX_BODY_BYTES
        body = _Body(answer, limit=limit)
        return httpx2.Response(answer.status, headers=headers, stream=body, extensions=answer.extensions)

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpcore2.Response, *, limit: int | None) -> None:
        self._answer = answer
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        with _errors_as_httpx2():
            async for piece in self._answer.aiter_stream():
                size += len(piece)
                if self._limit is not None and size > self._limit:
                    raise httpx2.ReadError(f"the answer is larger than the limit of {self._limit:,} bytes")
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextlib.contextmanager
def _errors_as_httpx2() -> Iterator[None]:
    """httpx2 names its transport errors as httpcore2 does."""
    try:
        yield
    except (
        httpcore2.TimeoutException,
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.UnsupportedProtocol,
    ) as e:
        raise getattr(httpx2, type(e).__name__)(str(e)) from e


def check_form(url: httpx2.URL) -> None:
    """Raises: DestinationRefused: it is no HTTP address."""
    if url.scheme not in ("http", "https") or not url.host:
        raise DestinationRefused(f"{public_form(url)!r} is no HTTP address; write it as https://host/path")


def port_of(url: httpx2.URL) -> int:
    return url.port if url.port is not None else (443 if url.scheme == "https" else 80)


def public_form(url: httpx2.URL | str) -> str:
    """The URL without what may be secret in it: user, password and query."""
    try:
        return str(httpx2.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except httpx2.InvalidURL:
        return "the registered URL"
