"""One open connection to one MCP server, over stdio or streamable HTTP.

The SDK's connection belongs to the task that opened it, so each session has a task of its own: callers come and go, and
may be cancelled, without tearing it down. A session that failed is *retired*: it takes no new call, ends when its last
call has, and is never opened again; `tools.mcp_sessions` opens another.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import httpx2
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_REQUEST,
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    Implementation,
    ListToolsRequest,
    PaginatedRequestParams,
)
from pydantic import BaseModel, Field

from tools.http_auth import Credentials
from tools.mcp_questions import Asker, CallsThatAsk
from tools.mcp_stdio import stdio_transport
from tools.outcome import shorten
from tools.redaction import Redaction
from tools.request_layout import LaidOut
from tools.spec import Auth, McpHttpServer, McpStdioServer
from tools.stderr_tail import StderrTail
from tools.transport import MAX_BODY_BYTES, Outbound, public_form

McpServer = McpStdioServer | McpHttpServer
_Answer = TypeVar("_Answer")

MAX_PAGES = 100
CLOSE_LIMIT_S = 10.0
CLIENT = Implementation(name="hone", version="0.1.0")


class _ToolsPage(BaseModel):
    """A page of a server's list, its tools untouched; the SDK has checked their form and would drop what it knows not."""

    tools: list[dict[str, Any]]
    next_cursor: str | None = Field(default=None, alias="nextCursor")


class SessionLost(Exception):
    """The server cannot be reached or went away; the message says why.

    `was_open` tells a server that died under way from one that never answered.
    """

    def __init__(self, message: str, *, was_open: bool) -> None:
        super().__init__(message)
        self.was_open = was_open


class McpSession:
    """Opens at construction, in the background; needs a running event loop."""

    def __init__(
        self,
        server: McpServer,
        outbound: Outbound,
        *,
        open_limit_s: float,
        credentials: Credentials | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        """
        Args:
            credentials: gives the values of the secrets that the server takes; None: it takes none.
            redaction: covers what its connections carry; None: nobody reads what comes back but by `tools`.
        """
        self._redaction = redaction if redaction is not None else Redaction()
        self.environment: dict[str, str] | None = None
        """What the server was started with; None: not yet, or it is not started here."""
        self._credentials = credentials
        self._server = server
        self._outbound = outbound
        self._open_limit_s = open_limit_s
        self._settled = asyncio.Event()
        self._leaving = asyncio.Event()
        self._client: Client | None = None
        self._fault: str | None = None
        self._stderr: StderrTail | None = None
        self._probe: asyncio.Task[None] | None = None
        self._asking = CallsThatAsk(self.retire)
        self._in_flight = 0
        self._answered_at = float("-inf")
        self._given_up_at = float("-inf")
        self._retired = False
        self._task = asyncio.create_task(self._own(), name=f"mcp {describe(server)}")
        self._give_up = asyncio.get_running_loop().call_later(open_limit_s, self._stop_opening)

    @property
    def retired(self) -> bool:
        return self._retired

    @property
    def ended(self) -> bool:
        """Nothing is left of it, neither connection nor process."""
        return self._task.done()

    async def call(self, name: str, arguments: dict[str, object], asker: Asker | None = None) -> CallToolResult:
        """
        Args:
            asker: takes what the server asks during this call; None: it is told that nobody answers.

        Raises: SessionLost; MCPError: the server answered with a protocol error.
        """
        async with self._connection() as client, self._asking.during(asker):
            return await self._answer(client.call_tool(name, arguments))

    async def tools(self) -> list[dict[str, Any]]:
        """The definitions of all that the server offers, as it gives them. Raises: as `call`."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        async with self._connection() as client:
            for _ in range(MAX_PAGES):
                request = ListToolsRequest(params=PaginatedRequestParams(cursor=cursor))
                page = await self._answer(client.session.send_request(request, _ToolsPage))
                found.extend(self._redaction.clean_json(page.tools))
                cursor = page.next_cursor
                if cursor is None:
                    break
        return found

    def unanswered(self, since: float) -> None:
        """A call begun at `since` (the loop's clock) ran out of time; if nothing came back since, the server hangs."""
        if self._client is not None and self._answered_at < max(since, self._given_up_at):
            self.retire()

    def retire(self) -> None:
        self._retired = True
        if not self._in_flight:
            self._leaving.set()

    async def close(self) -> None:
        """Ends the connection and its server process, whatever is under way."""
        self._retired = True
        self._leaving.set()
        if not self._settled.is_set():
            self._task.cancel()
        done, _ = await asyncio.wait({self._task}, timeout=CLOSE_LIMIT_S)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_LIMIT_S)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Client]:
        await self._settled.wait()
        if self._client is None:
            raise SessionLost(self._fault or "it was closed", was_open=False)
        self._in_flight += 1
        try:
            yield self._client
        except MCPError as e:
            if e.code == CONNECTION_CLOSED:
                self._retired = True
                self._leaving.set()
                await asyncio.wait({self._task}, timeout=1.0)  # the task knows the cause, a moment later
                raise SessionLost(self._fault or self._explain(e), was_open=True) from e
            if e.code == INVALID_REQUEST:  # how the SDK reports an HTTP session that the server has forgotten
                self.retire()
                raise SessionLost(e.message, was_open=True) from e
            raise
        finally:
            self._in_flight -= 1
            if self._retired and not self._in_flight:
                self._leaving.set()

    async def _answer(self, request: Coroutine[Any, Any, _Answer]) -> _Answer:
        sent_at = asyncio.get_running_loop().time()
        try:
            answer = await request
        except asyncio.CancelledError:
            self._given_up_at = max(self._given_up_at, sent_at)
            raise
        except MCPError as e:
            if e.code != CONNECTION_CLOSED:
                self._answered_at = asyncio.get_running_loop().time()
            raise
        self._answered_at = asyncio.get_running_loop().time()
        return answer

    async def _own(self) -> None:
        try:
            async with self._open() as client:
                self._client = client
                self._give_up.cancel()
                self._settled.set()
                await self._leaving.wait()
        except Exception as e:  # the SDK lets any transport error through, in groups; all mean that the session is over
            self._fault = self._explain(e)
        finally:
            self._retired = True
            self._client = None
            self._give_up.cancel()
            self._settled.set()
            if self._probe is not None:
                self._probe.cancel()
            if self._stderr is not None:
                self._stderr.close()

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Client]:
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(self._server, McpStdioServer):
                self.environment = await self._environment(self._server)
                self._stderr = StderrTail(on_end=self._stderr_ended)
                started = self._server.model_copy(update={"env": self.environment})
                transport = stdio_transport(started, self._stderr.file, limit=MAX_BODY_BYTES)
            else:
                http = await stack.enter_async_context(
                    self._outbound.client(
                        headers=self._server.headers,
                        auth=self._auth(self._server.auth),
                        timeout=httpx2.Timeout(self._open_limit_s, read=None),
                        cookies=True,  # some servers keep a session on one machine by them
                    )
                )
                transport = streamable_http_client(
                    self._server.url, http_client=http, max_sse_event_size=MAX_BODY_BYTES
                )
            client = await stack.enter_async_context(
                Client(transport, client_info=CLIENT, cache=None, elicitation_callback=self._on_question)
            )
            if self._stderr is not None:
                self._stderr.handed_over()
            yield client

    async def _environment(self, server: McpStdioServer) -> dict[str, str]:
        return await self._credentials.environment(server, self._redaction) if self._credentials else server.env

    def _auth(self, auths: Sequence[Auth]) -> httpx2.Auth | None:
        return _EachRequest(auths, self._credentials, self._redaction) if auths and self._credentials else None

    async def _on_question(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        return await self._asking.ask(params)

    def _stop_opening(self) -> None:
        self._fault = f"it did not answer the handshake within {self._open_limit_s:g} s"
        self._task.cancel()

    def _stderr_ended(self) -> None:
        """Most likely the server died; asking it anything tells, before a call is lost on it."""
        if self._client is not None and not self._retired:
            self._probe = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        with contextlib.suppress(SessionLost, MCPError):
            await self.tools()

    def _explain(self, error: Exception) -> str:
        cause = root_cause(error)
        if isinstance(cause, FileNotFoundError) and isinstance(self._server, McpStdioServer):
            return f"there is no command {self._server.command!r}"
        told = shorten(self._redaction.clean(str(cause)), 200) or type(cause).__name__
        written = self._redaction.clean(self._stderr.text()) if self._stderr is not None else ""
        return f"{told} (it wrote: {shorten(written, 300)})" if written else told


class _EachRequest(httpx2.Auth):
    """Puts credentials on each request of a connection, so that a secret that was changed or bound elsewhere counts at once."""

    def __init__(self, auths: Sequence[Auth], credentials: Credentials, redaction: Redaction) -> None:
        self._auths = auths
        self._credentials = credentials
        self._redaction = redaction

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        bare = LaidOut(str(request.url))
        laid = await self._credentials.apply(self._auths, bare, self._redaction, tool=None)
        request.url = httpx2.URL(laid.url)
        request.headers.update(laid.headers)
        if laid.cookies:
            request.headers["cookie"] = "; ".join(filter(None, (request.headers.get("cookie"), *laid.cookies)))
        response = yield request
        if response.status_code == 401:
            self._credentials.forget(self._auths)


def describe(server: McpServer) -> str:
    """The server in a few words, without its environment or headers."""
    if isinstance(server, McpStdioServer):
        return shorten(" ".join((server.command, *server.args)), 120)
    return public_form(server.url)


def root_cause(error: BaseException) -> BaseException:
    """The first plain exception within nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
