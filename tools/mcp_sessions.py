"""The open MCP sessions, one for each server, and tool calls through them.

A session is opened by the first call that needs it and kept. When a server died, the next call opens another; a call
that finds it dead is repeated by itself only where the tool's side-effect class allows that.
"""

import json

from mcp import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, EmbeddedResource, TextContent, TextResourceContents, Tool

from tools.mcp_session import McpServer, McpSession, SessionLost, describe
from tools.outcome import failure, refusal
from tools.transport import Outbound

OPEN_LIMIT_S = 30.0


class McpSessions:
    def __init__(self, outbound: Outbound, *, open_limit_s: float = OPEN_LIMIT_S) -> None:
        """
        Args:
            outbound: what servers over HTTP may be called.
            open_limit_s: bounds starting a server and shaking hands with it, apart from any call's own limit.
        """
        self._outbound = outbound
        self._open_limit_s = open_limit_s
        self._sessions: dict[str, McpSession] = {}
        self._leaving: list[McpSession] = []

    async def call(self, server: McpServer, name: str, arguments: dict[str, object], *, repeatable: bool) -> str:
        """The tool's answer as text.

        Args:
            repeatable: the call may be sent again when the connection broke under it.

        Raises: CallFault: rejected by the tool, or failed. The time limit is the caller's.
        """
        try:
            result = await self._call(server, name, arguments, repeatable)
        except SessionLost as e:
            lost = "broke off, and it is not known whether the tool ran" if e.was_open else "cannot be opened"
            raise failure(f"the MCP server ({describe(server)}) {lost}: {e}", may_have_run=e.was_open) from e
        except MCPError as e:
            if e.code == INVALID_PARAMS:
                raise refusal(e.message) from e
            raise failure(f"the MCP server ({describe(server)}) answered with an error: {e.message}") from e
        if result.is_error:
            raise refusal(result_text(result) or "the tool reported an error without saying which")
        return result_text(result)

    async def tools(self, server: McpServer) -> list[Tool]:
        """What a server offers. Raises: SessionLost, MCPError."""
        return await self._session(server).tools()

    def unanswered(self, server: McpServer, since: float) -> None:
        """Tells the server's session that a call begun at `since` (the loop's clock) ran out of time."""
        session = self._sessions.get(_key(server))
        if session is not None:
            session.unanswered(since)

    async def close(self) -> None:
        for session in (*self._leaving, *self._sessions.values()):
            await session.close()
        self._leaving.clear()
        self._sessions.clear()

    async def _call(
        self, server: McpServer, name: str, arguments: dict[str, object], repeatable: bool
    ) -> CallToolResult:
        kept = self._sessions.get(_key(server))
        session = self._session(server)
        try:
            return await session.call(name, arguments)
        except SessionLost as e:
            # Only a session that was open before is worth a second try: a server that died of this call would again.
            if not (e.was_open and repeatable and session is kept):
                raise
        return await self._session(server).call(name, arguments)

    def _session(self, server: McpServer) -> McpSession:
        key = _key(server)
        session = self._sessions.get(key)
        if session is None or session.retired:
            if session is not None:
                self._leaving = [old for old in self._leaving if not old.ended] + [session]
            session = self._sessions[key] = McpSession(server, self._outbound, open_limit_s=self._open_limit_s)
        return session


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
    return server.model_dump_json()
