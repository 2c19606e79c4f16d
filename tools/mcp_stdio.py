"""An MCP server as a child process: one JSON message a line, on its standard input and output.

In place of the SDK's own transport, which keeps a line of any length and copies it with each piece that comes: a server
that never ends a line would take all memory and time. Here a line that is too long ends the connection. The server has
a process group of its own, which is gone when the block ends.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from typing import TextIO, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from tools.spec import McpStdioServer

_Incoming: TypeAlias = SessionMessage | Exception
_Streams: TypeAlias = tuple[MemoryObjectReceiveStream[_Incoming], MemoryObjectSendStream[SessionMessage]]

LEAVE_LIMIT_S = 2.0
"""For each of: leaving by itself when its input ends, and being told to."""
_LOG = logging.getLogger(__name__)


class OversizedMessage(Exception):
    """The server wrote a line that is longer than any message may be."""


@contextlib.asynccontextmanager
async def stdio_transport(server: McpStdioServer, stderr: TextIO, *, limit: int) -> AsyncIterator[_Streams]:
    """
    Args:
        limit: bytes of one message.

    Raises:
        OSError: the program cannot be started.
        OversizedMessage: in a group; the block is cancelled.
    """
    process = await asyncio.create_subprocess_exec(
        server.command,
        *server.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env=get_default_environment() | server.env,
        limit=limit,
        start_new_session=True,
    )
    assert process.stdin is not None  # piped, as is its output
    assert process.stdout is not None
    to_session, incoming = anyio.create_memory_object_stream[_Incoming](0)
    outgoing, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    patience_s = 0.0
    try:
        async with anyio.create_task_group() as tasks, to_session, incoming, outgoing, from_session:
            tasks.start_soon(_read, process.stdout, to_session, limit)
            tasks.start_soon(_write, process.stdin, from_session, to_session)
            yield incoming, outgoing
            tasks.cancel_scope.cancel()
        patience_s = LEAVE_LIMIT_S  # only a connection that ended well gives the server time to leave
    finally:
        with anyio.CancelScope(shield=True):
            await _stop(process, process.stdin, process.stdout, patience_s)


async def _read(stdout: asyncio.StreamReader, to_session: MemoryObjectSendStream[_Incoming], limit: int) -> None:
    async with to_session:
        while True:
            try:
                line = await stdout.readline()
            except ValueError as e:
                raise OversizedMessage(f"it sent a message of more than {limit:,} bytes") from e
            if not line:
                return
            try:
                message = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
            except ValueError as e:
                _LOG.warning("an MCP server wrote a line that is no message: %r", line[:100])
                await to_session.send(e)
            else:
                await to_session.send(message)


async def _write(
    stdin: asyncio.StreamWriter,
    from_session: MemoryObjectReceiveStream[SessionMessage],
    to_session: MemoryObjectSendStream[_Incoming],
) -> None:
    try:
        async for message in from_session:
            stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await stdin.drain()
    except OSError:
        await to_session.aclose()  # it takes no more: whoever waits for an answer is told that there will be none


async def _stop(
    process: asyncio.subprocess.Process, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, patience_s: float
) -> None:
    """Ends the server: its input first, as the protocol says, then by signals to its whole group."""
    rest = asyncio.create_task(_discard(stdout))  # a server that waits for its output to be read cannot leave
    stdin.close()
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience_s)
            break
        _signal(process.pid, how)
    _signal(process.pid, signal.SIGKILL)  # what it left behind
    await process.wait()
    rest.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await rest


def _signal(group: int, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, how)


async def _discard(stdout: asyncio.StreamReader) -> None:
    while await stdout.read(65_536):
        pass
