"""/v1/tools: registration of HTTP tools and MCP servers, and what is registered.

Headers of endpoints and the environment of MCP servers may hold secrets: they are taken in and never shown.
"""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Body, Depends, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field, TypeAdapter, ValidationError

from runtime.errors import BadRequest
from runtime.services import Services, services
from tools.errors import DuplicateTool
from tools.holds import Standing, ToolState
from tools.importers.http import http_tool
from tools.importers.mcp import survey
from tools.importers.survey import Survey
from tools.lint import lint_all
from tools.listing import Wanted, page
from tools.reach import check_reach
from tools.request_secrets import secret_names
from tools.spec import ApprovalRule, BuiltinBackend, HttpBackend, McpBackend, McpHttpServer, McpStdioServer, ToolSpec

router = APIRouter()

_SERVER: TypeAdapter[McpStdioServer | McpHttpServer] = TypeAdapter(
    Annotated[McpStdioServer | McpHttpServer, Field(discriminator="transport")]
)

Limit: TypeAlias = Annotated[int, Query(ge=1, le=1000)]


@router.get("/v1/tools")
async def list_tools(
    hone: Annotated[Services, Depends(services)],
    tag: Annotated[list[str] | None, Query()] = None,
    owner: str | None = None,
    state: ToolState | None = None,
    limit: Limit = 200,
    after: str | None = None,
) -> dict[str, Any]:
    """What is registered, by name, held tools among it, with all of the tags; `after` is the `next` of the page before."""
    wanted = Wanted(tuple(tag or ()), owner, state)
    standings = await asyncio.to_thread(hone.holds.standings)
    registered = await asyncio.to_thread(hone.catalogue.registered)
    fitting = [spec for spec in registered if wanted.fits(spec, standings.get(spec.name))]
    specs, following = page(fitting, after=after, limit=limit)
    return {"object": "list", "data": [standing(spec, standings) for spec in specs], "next": following}


@router.get("/v1/tools/{name}")
async def get_tool(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    spec = await asyncio.to_thread(hone.catalogue.get, name)
    return standing(spec, await asyncio.to_thread(hone.holds.standings))


@router.delete("/v1/tools/{name}", status_code=204)
async def remove_tool(name: str, hone: Annotated[Services, Depends(services)]) -> Response:
    """The tool is out of use; its versions stay on record."""
    await asyncio.to_thread(hone.catalogue.remove, name)
    return Response(status_code=204)


@router.post("/v1/tools", status_code=201, response_model=None)
async def register(body: Annotated[dict[str, Any], Body()], hone: Annotated[Services, Depends(services)]) -> Response:
    """One HTTP tool, or with `{"mcp": {...}}` all tools of an MCP server; `"replace": true` replaces what is there."""
    definition = dict(body)
    replace = definition.pop("replace", False)
    if not isinstance(replace, bool):
        raise BadRequest("replace: must be true or false", param="replace")
    if "mcp" in definition:
        found = await _survey_mcp(definition, hone)
        added = await asyncio.to_thread(_add_all, hone, found, replace)
        warnings = await asyncio.to_thread(warnings_on, hone, added)
        return JSONResponse(
            {**shown_survey(dataclasses.replace(found, tools=tuple(added))), "warnings": warnings}, status_code=201
        )
    spec = http_tool(definition)
    await check_reach(spec, hone.outbound, hone.secret_source)
    (added,) = await asyncio.to_thread(hone.holds.register_all, Survey((spec,), ()), replace=replace)
    warnings = await asyncio.to_thread(warnings_on, hone, [added])
    standings = await asyncio.to_thread(hone.holds.standings)
    return JSONResponse({**standing(added, standings), "warnings": warnings}, status_code=201)


async def _survey_mcp(definition: dict[str, Any], hone: Services) -> Survey:
    """Raises: BadRequest: the server is not described well or not allowed; as `survey`."""
    extra = sorted(set(definition) - {"mcp"})
    if extra:
        raise BadRequest(f"{extra[0]}: does not go with mcp; the only other field is replace", param=extra[0])
    given = definition["mcp"]
    if not isinstance(given, dict):
        raise BadRequest("mcp: must be an object that describes a server", param="mcp")
    described = dict(given)
    prefix = described.pop("prefix", "")
    if not isinstance(prefix, str):
        raise BadRequest("mcp.prefix: must be a string", param="mcp.prefix")
    approval = described.pop("approval", ApprovalRule.BY_EFFECT.value)
    if approval not in list(ApprovalRule):
        rules = ", ".join(ApprovalRule)
        raise BadRequest(f"mcp.approval: {approval!r} is no rule; there are: {rules}", param="mcp.approval")
    described.setdefault("transport", "http" if "url" in described else "stdio")
    try:
        server = _SERVER.validate_python(described)
    except ValidationError as e:
        first = e.errors()[0]
        path = ".".join(["mcp", *(str(part) for part in first["loc"] if part not in ("stdio", "http"))])
        raise BadRequest(f"{path}: {first['msg']}", param=path) from e
    if isinstance(server, McpStdioServer) and not hone.settings.allow_mcp_stdio:
        raise BadRequest(
            "mcp.command: this server starts no programs for HTTP clients; use `hone tools add` on its machine, "
            "or set allow_mcp_stdio (HONE_ALLOW_MCP_STDIO=true)",
            param="mcp.command",
        )
    found = await survey(server, hone.outbound, prefix=prefix, secrets=hone.secret_source)
    return found.under(ApprovalRule(approval))


def _add_all(hone: Services, found: Survey, replace: bool) -> list[ToolSpec]:
    """All or, where a name is taken, none."""
    if not replace:
        taken = {spec.name for spec in hone.catalogue.registered()} & {spec.name for spec in found.tools}
        if taken:
            raise DuplicateTool(
                f"tools named {', '.join(sorted(taken))} are registered; give mcp.prefix, or send replace: true"
            )
    return hone.holds.register_all(found, replace=replace)


def warnings_on(hone: Services, specs: Sequence[ToolSpec]) -> list[dict[str, str]]:
    """What the linter says of tools that were just taken in."""
    return [finding.plain() for finding in lint_all(specs, hone.catalogue.list())]


def standing(spec: ToolSpec, standings: Mapping[str, Standing]) -> dict[str, Any]:
    """A registered tool as the API shows it: with where it stands."""
    where = standings.get(spec.name, Standing())
    return {**shown(spec), "state": where.state.value, "state_reason": where.reason}


def shown(spec: ToolSpec) -> dict[str, Any]:
    """A tool as the API shows it."""
    return {
        "object": "tool",
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
        "backend": _shown_backend(spec),
        "side_effect": spec.side_effect.value,
        "approval": spec.approval.value,
        "timeout_s": spec.timeout_s,
        "max_result_bytes": spec.max_result_bytes,
        "max_concurrent": spec.max_concurrent,
        "max_per_minute": spec.max_per_minute,
        "postcondition": spec.postcondition.model_dump() if spec.postcondition is not None else None,
        "never_train": spec.never_train,
        "owner": spec.owner,
        "tags": list(spec.tags),
        "examples": [example.model_dump(mode="json") for example in spec.examples],
        "sha256": spec.sha256,
    }


def shown_survey(found: Survey) -> dict[str, Any]:
    """What an import made, and what it left out."""
    return {
        "tools": [shown(spec) for spec in found.tools],
        "skipped": [part.plain() for part in found.skipped],
        "flagged": [part.plain() for part in found.flagged],
    }


def _shown_backend(spec: ToolSpec) -> dict[str, Any]:
    match spec.backend:
        case HttpBackend(url=url, method=method):
            return {"kind": "http", "url": url, "method": method, "needs": secret_names(spec)}
        case McpBackend(server=McpHttpServer(url=url), remote_name=name):
            described = {"kind": "mcp", "transport": "http", "url": url, "remote_name": name}
            return described | {"needs": secret_names(spec)}
        case McpBackend(server=McpStdioServer(command=command), remote_name=name):
            described = {"kind": "mcp", "transport": "stdio", "command": command, "remote_name": name}
            return described | {"needs": secret_names(spec)}
        case BuiltinBackend(function=function):
            return {"kind": "builtin", "function": function}
        case _:
            return {"kind": spec.backend.kind}
