"""The open MCP sessions, one for each server, and tool calls through them.

A session is opened by the first call that needs it and kept. When a server died, the next call opens another; a call
that finds it dead is repeated by itself only where the tool's side-effect class allows that.

Before each call of a tool that is pinned to a definition, the server is asked for its list: where the definition is
another one, the call is refused and whoever keeps the pins is told. A call in which the server asks the user something
is kept under way until the answer comes, in a later turn, or the time for that is over.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from mcp import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, EmbeddedResource, TextContent, TextResourceContents
from pydantic import ValidationError

from tools.held_calls import HeldCall, HeldCalls
from tools.http_auth import Credentials
from tools.mcp_definition import Definition, digest
from tools.mcp_questions import Asker
from tools.mcp_session import McpServer, McpSession, SessionLost, describe
from tools.outcome import CallFault, failure, refusal
from tools.question import Answer, Question
from tools.redaction import Redaction
from tools.request_secrets import server_uses
from tools.spec import CallStatus, McpBackend, McpStdioServer
from tools.tenancy import caller
from tools.transport import Outbound

DefinitionWatch: TypeAlias = Callable[[McpServer, Mapping[str, Definition]], Awaitable[None]]
"""Is told what a server offers, by the tools' names there, when that is not what a tool is pinned to, and once for each
session."""

OPEN_LIMIT_S = 30.0


class McpSessions:
    def __init__(
        self,
        outbound: Outbound,
        *,
        open_limit_s: float = OPEN_LIMIT_S,
        watch: DefinitionWatch | None = None,
        held: HeldCalls | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        """
        Args:
            outbound: what servers over HTTP may be called.
            open_limit_s: bounds starting a server and shaking hands with it, apart from any call's own limit.
            watch: is told what servers offer; None: nobody is.
            held: the calls that wait for a user's answer; None: made here.
            credentials: gives the values of secrets that servers take; None: no server takes any.
        """
        self._credentials = credentials
        self._redactions: dict[str, Redaction] = {}
        self._watch = watch
        self._held = held if held is not None else HeldCalls()
        self._watched: set[McpSession] = set()
        self._outbound = outbound
        self._open_limit_s = open_limit_s
        self._sessions: dict[str, McpSession] = {}
        self._leaving: list[McpSession] = []

    async def call(
        self,
        backend: McpBackend,
        arguments: dict[str, object],
        *,
        tool: str,
        repeatable: bool,
        answer: Answer | None = None,
    ) -> str:
        """The tool's answer as text, without the secrets that its connection carries.

        Args:
            tool: the name that it is registered by.
            repeatable: the call may be sent again when the connection broke under it, or when the one that asked is gone.
            answer: to what an earlier call of the same tool with the same arguments asked.

        Raises: CallFault: rejected by the tool, failed, quarantined, or it asks the user something. The time limit is the
            caller's.
        """
        redaction = self._redaction(backend.server)
        try:
            await self._check_secrets(backend.server, tool)
            return redaction.clean(await self._exchange(backend, self._begun(backend, arguments, repeatable, answer)))
        except CallFault as e:
            # Its cause is dropped too: it may quote what the server was sent.
            raise e.reworded(redaction.clean(str(e))) from None

    async def tools(self, server: McpServer) -> list[Definition]:
        """What a server offers. Raises: SessionLost, MCPError, ValidationError; CallFault: a secret that it takes."""
        await self._check_secrets(server, None)
        return await (await self._session(server)).tools()

    def shown(self, server: McpServer, error: Exception) -> str:
        """An error of `tools`, without the secrets that the connection carries."""
        return self._redaction(server).clean(str(error))

    def unanswered(self, server: McpServer, since: float) -> None:
        """Tells the server's session that a call begun at `since` (the loop's clock) ran out of time."""
        session = self._sessions.get(_key(server))
        if session is not None:
            session.unanswered(since)

    async def close(self) -> None:
        await self._held.close()
        for session in (*self._leaving, *self._sessions.values()):
            await session.close()
        self._leaving.clear()
        self._sessions.clear()

    def _begun(
        self, backend: McpBackend, arguments: dict[str, object], repeatable: bool, answer: Answer | None
    ) -> HeldCall:
        """The call that waits for the answer, or a new one that has it at hand.

        Raises: CallFault: the one that waited is gone and may not be made again.
        """
        waiting = self._held.take(answer.question) if answer is not None else None
        if answer is not None and waiting is not None:
            waiting.answer(answer)
            return waiting
        if answer is not None and not (repeatable and answer.may_call_again):
            raise failure(
                f"the call of {backend.remote_name} no longer waits for the answer (it waits for "
                f"{self._held.limit_s:g} s, and not across a restart of hone), and it is not known what it had done by "
                "then; nothing was sent again",
                may_have_run=True,
            )
        return HeldCall(lambda asker: self._call(backend, arguments, repeatable, asker), at_hand=answer)

    async def _check_secrets(self, server: McpServer, tool: str | None) -> None:
        """Raises: CallFault: the server takes a secret that is not set, or not for it or this tool."""
        if self._credentials is not None:
            await self._credentials.check(server, tool)
        elif server_uses(server, tool):
            raise failure("the server takes secrets, and none are kept here")

    async def _exchange(self, backend: McpBackend, call: HeldCall) -> str:
        server = backend.server
        try:
            result = await self._conclude(backend, call)
        except SessionLost as e:
            lost = "broke off, and it is not known whether the tool ran" if e.was_open else "cannot be opened"
            raise failure(f"the MCP server ({describe(server)}) {lost}: {e}", may_have_run=e.was_open) from e
        except MCPError as e:
            if e.code == INVALID_PARAMS:
                raise refusal(e.message) from e
            raise failure(f"the MCP server ({describe(server)}) answered with an error: {e.message}") from e
        except (
            ValidationError,
            RuntimeError,
        ) as e:  # how the SDK says that an answer breaks the protocol or the tool's own schema
            raise failure(f"the MCP server ({describe(server)}) gave an answer that cannot be used: {e}") from e
        if result.is_error:
            raise refusal(result_text(result) or "the tool reported an error without saying which")
        return result_text(result)

    async def _conclude(self, backend: McpBackend, call: HeldCall) -> CallToolResult:
        """Raises: CallFault: the call asks and is kept; whatever it failed with."""
        asked = await call.next()
        if isinstance(asked, CallToolResult):
            return asked
        redaction = self._redaction(backend.server)
        requested = redaction.clean_json(dict(asked.requested_schema))
        question = Question(call=call.id, message=redaction.clean(asked.message), requested=requested)
        self._held.keep(call)
        raise CallFault(
            CallStatus.INPUT_REQUIRED, f"{backend.remote_name} asks the user: {question.message}", question=question
        )

    async def _call(
        self, backend: McpBackend, arguments: dict[str, object], repeatable: bool, asker: Asker
    ) -> CallToolResult:
        kept = self._sessions.get(_key(backend.server))
        session = await self._session(backend.server)
        try:
            return await self._checked_call(session, backend, arguments, asker)
        except SessionLost as e:
            # Only a session that was open before is worth a second try: a server that died of this call would again.
            if not (e.was_open and repeatable and session is kept):
                raise
        return await self._checked_call(await self._session(backend.server), backend, arguments, asker)

    async def _checked_call(
        self, session: McpSession, backend: McpBackend, arguments: dict[str, object], asker: Asker
    ) -> CallToolResult:
        if backend.definition is not None:
            await self._check(session, backend, backend.definition)
        return await session.call(backend.remote_name, arguments, asker)

    async def _check(self, session: McpSession, backend: McpBackend, pinned: Definition) -> None:
        """Raises: CallFault: the server offers another definition than the one that was accepted, or none."""
        offered = {str(definition["name"]): definition for definition in await session.tools()}
        now = offered.get(backend.remote_name)
        is_same = now is not None and digest(now) == digest(pinned)
        if self._watch is not None and not (is_same and session in self._watched):
            self._watched = {kept for kept in self._watched if not kept.ended} | {session}
            await self._watch(backend.server, offered)
        if not is_same:
            change = "changed the definition of" if now is not None else "no longer offers"
            raise CallFault(
                CallStatus.QUARANTINED,
                f"not called: its server {change} {backend.remote_name}; the tool is quarantined until its owner "
                f"accepts that (hone tools diff, hone tools accept)",
            )

    async def _session(self, server: McpServer) -> McpSession:
        key = _key(server)
        await self._retire_outdated(server, self._sessions.get(key))
        session = self._sessions.get(key)
        if session is None or session.retired:
            if session is not None:
                self._leaving = [old for old in self._leaving if not old.ended] + [session]
            session = self._sessions[key] = McpSession(
                server,
                self._outbound,
                open_limit_s=self._open_limit_s,
                credentials=self._credentials,
                redaction=self._redaction(server),
            )
        return session

    async def _retire_outdated(self, server: McpServer, session: McpSession | None) -> None:
        """A program keeps the secrets that it was started with: where they were changed, another one is started."""
        if session is None or session.environment is None or not isinstance(server, McpStdioServer):
            return
        if server.secret_env and self._credentials is not None:
            now = await self._credentials.environment(server, self._redaction(server))
            if now != session.environment:
                session.retire()

    def _redaction(self, server: McpServer) -> Redaction:
        """The secrets that this server's connections have carried."""
        return self._redactions.setdefault(_key(server), Redaction())


def result_text(result: CallToolResult) -> str:
    """The answer as the policy reads it: its texts, else its structured content; what is not text is only named."""
    parts: list[str] = []
    for block in result.content:
        if isinstance(block, TextContent):
            parts.append(_compact(block.text))
        elif isinstance(block, EmbeddedResource) and isinstance(block.resource, TextResourceContents):
            parts.append(block.resource.text)
        else:
            parts.append(f"[{block.type}]")
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _compact(text: str) -> str:
    """JSON that was laid out for people, on one line: the policy pays for each token."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _key(server: McpServer) -> str:
    """Each tenant has its own session, opened with its own secrets, also where the definitions are the same."""
    who = caller()
    return f"{who.tenant if who is not None else ''} {server.model_dump_json()}"
