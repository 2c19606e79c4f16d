"""From an MCP server to the tools that it offers.

The server is started or called once, asked for its list, and let go; nothing is registered.
"""

import asyncio
import logging
from collections.abc import Sequence

from mcp import MCPError
from pydantic import ValidationError

from tools.catalogue import check_spec
from tools.errors import BadToolSpec, ImportFailed
from tools.http_auth import Credentials
from tools.importers.survey import Skipped, Survey
from tools.mcp_definition import Definition, spec_of
from tools.mcp_session import McpServer, SessionLost, describe
from tools.mcp_sessions import OPEN_LIMIT_S, McpSessions
from tools.outcome import CallFault
from tools.reach import check_secrets
from tools.request_secrets import secret_uses, server_uses
from tools.secrets import EnvironmentSecrets, SecretSource
from tools.spec import McpHttpServer, ToolSpec
from tools.transport import Outbound
from tools.typed_credentials import typed_for_server

LIST_LIMIT_S = 30.0
_LOG = logging.getLogger(__name__)


async def survey(
    server: McpServer,
    outbound: Outbound,
    *,
    prefix: str = "",
    secrets: SecretSource | None = None,
    open_limit_s: float = OPEN_LIMIT_S,
) -> Survey:
    """All that a server offers, what can be registered and what cannot.

    Args:
        prefix: goes before each name; keeps two servers' tools apart.
        secrets: has those that the server takes; None: the environment's.

    Raises:
        DestinationRefused: its address is one that tools may not call.
        BadToolSpec: what describes it holds a credential.
        SecretOutOfBounds: it takes a secret that may not go there.
        ImportFailed: the server cannot be started, reached or read.
    """
    problem = typed_for_server(server)
    if problem is not None:
        raise BadToolSpec(problem)
    if isinstance(server, McpHttpServer):
        await outbound.check(server.url)
    source = secrets if secrets is not None else EnvironmentSecrets()
    await check_secrets(server_uses(server, None), outbound, source)
    client = outbound.client()
    credentials = Credentials(client, source, allowed=outbound.allowed)
    sessions = McpSessions(outbound, open_limit_s=open_limit_s, credentials=credentials)
    try:
        async with asyncio.timeout(open_limit_s + LIST_LIMIT_S):
            offered = await sessions.tools(server)
    except CallFault as e:
        raise ImportFailed(f"the MCP server ({describe(server)}) was not asked: {e}") from e
    except TimeoutError as e:
        raise ImportFailed(f"the MCP server ({describe(server)}) did not list its tools in time") from e
    except SessionLost as e:
        raise ImportFailed(f"cannot read the tools of the MCP server ({describe(server)}): {e}") from e
    except (MCPError, ValidationError) as e:
        raise ImportFailed(
            f"the MCP server ({describe(server)}) would not list its tools: {sessions.shown(server, e)}"
        ) from None
    finally:
        await sessions.close()
        await client.aclose()
    found = sort_out(server, offered, prefix=prefix)
    for spec in found.tools:
        await check_secrets(secret_uses(spec), outbound, source)
    return found


async def discover(server: McpServer, outbound: Outbound, *, prefix: str = "") -> list[ToolSpec]:
    """The tools that can be registered; the others are logged.

    Raises: as `survey`; ImportFailed: none of its tools can be registered.
    """
    found = await survey(server, outbound, prefix=prefix)
    for skipped in found.skipped:
        _LOG.warning("tool %r of the MCP server (%s) is left out: %s", skipped.name, describe(server), skipped.reason)
    if not found.tools:
        reasons = "; ".join(f"{skipped.name}: {skipped.reason}" for skipped in found.skipped) or "it offers none"
        raise ImportFailed(f"no tool of the MCP server ({describe(server)}) can be registered: {reasons}")
    return list(found.tools)


def sort_out(server: McpServer, offered: Sequence[Definition], *, prefix: str = "") -> Survey:
    """Pure part of `survey`."""
    tools: dict[str, ToolSpec] = {}
    skipped: list[Skipped] = []
    for definition in offered:
        name = str(definition.get("name"))
        try:
            spec = spec_of(server, definition, prefix=prefix)
            if spec.name in tools:
                raise BadToolSpec(f"the name {spec.name!r} is taken by another tool of this server")
            check_spec(spec)
        except BadToolSpec as e:
            skipped.append(Skipped(name, str(e)))
        except ValidationError as e:
            skipped.append(Skipped(name, e.errors(include_url=False)[0]["msg"]))
        else:
            tools[spec.name] = spec
    return Survey(tuple(tools.values()), tuple(skipped))
