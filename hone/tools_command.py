"""`hone tools`: what the agent may call."""

import asyncio
import dataclasses
import json as jsonlib
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from hone import tool_calls, tool_drafts, tool_holds, tool_quality, tool_trial
from hone.home import Home, open_home
from hone.output import JsonOption, console, show_table, write_json
from hone.tool_text import plain, plain_survey
from runtime.outbound import open_outbound
from tools.builtin import builtin_tools
from tools.documents import fetch_document
from tools.errors import BadToolSpec, DuplicateTool
from tools.holds import Standing, ToolState
from tools.importers.http import http_tool
from tools.importers.mcp import survey
from tools.importers.survey import Skipped, Survey
from tools.lint import lint_all
from tools.listing import Wanted
from tools.mcp_session import McpServer
from tools.reach import check_reach
from tools.secrets import SecretSource
from tools.spec import ApiKeyAuth, ApprovalRule, Auth, BearerAuth, McpHttpServer, McpStdioServer, ToolSpec
from tools.transport import Outbound

app = typer.Typer(help="Register tools and look at them.", no_args_is_help=True)
app.command("import")(tool_drafts.import_tools)
app.command("edit")(tool_drafts.edit)
app.command("publish")(tool_drafts.publish)
app.command("discard")(tool_drafts.discard)
app.command("test")(tool_trial.try_tools)
app.command("report")(tool_quality.report)
app.command("lint")(tool_quality.lint_tools)
app.command("calls")(tool_calls.calls)
app.command("settle")(tool_calls.settle)
app.command("diff")(tool_holds.diff)
app.command("accept")(tool_holds.accept)
app.command("disable")(tool_holds.disable)
app.command("enable")(tool_holds.enable)
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


@app.command()
def add(
    definition: Annotated[
        str | None, typer.Argument(help="JSON file of an HTTP tool, its URL, or - for standard input.")
    ] = None,
    mcp_command: Annotated[str | None, typer.Option(help="Start this MCP server and register its tools.")] = None,
    mcp_url: Annotated[str | None, typer.Option(help="Register the tools of the MCP server at this address.")] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[WHERE=]NAME",
            help="Secret of an MCP server: NAME as its bearer, HEADER=NAME, or VARIABLE=NAME of --mcp-command; repeatable.",
        ),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Goes before the names of an MCP server's tools.")] = "",
    approval: Annotated[
        ApprovalRule, typer.Option(help="Which calls of an MCP server's tools wait for a person.")
    ] = ApprovalRule.BY_EFFECT,
    builtin: Annotated[bool, typer.Option(help="Register the tools that ship with hone.")] = False,
    replace: Annotated[bool, typer.Option(help="Make a new version of a tool that exists.")] = False,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Register a tool by JSON schema and endpoint, or the tools of an MCP server."""
    if sum((definition is not None, mcp_command is not None, mcp_url is not None, builtin)) != 1:
        raise typer.BadParameter("give one of: a definition, --mcp-command, --mcp-url, --builtin")
    server = _server(mcp_command, mcp_url, secret or [])
    with open_home(home=home) as here:
        specs, skipped = _read(here, definition, server, prefix)
        found = Survey(specs, skipped) if server is None else Survey(specs, skipped).under(approval)
        added = _add_all(here, found, replace=replace)
        findings = lint_all(added, here.catalogue.list())
    if json:
        write_json(plain_survey(dataclasses.replace(found, tools=tuple(added)), findings), json)
        return
    console.print(f"registered: {', '.join(s.name for s in specs)}")
    for part in skipped:
        console.print(f"left out: {part.name}: {part.reason}")
    tool_holds.tell_flagged(found.flagged)
    tool_quality.warn(findings, most=tool_drafts.MAX_WARNINGS)
    if apart := [spec.name for spec in added if spec.never_train]:
        console.print(f"measured on, not learnt on (never_train): {', '.join(apart)}")


def _server(command: str | None, url: str | None, secrets: list[str]) -> McpServer | None:
    """Raises: BadToolSpec: naming what is no secret's name."""
    pairs = [(where, name) for where, _, name in (text.rpartition("=") for text in secrets)]
    try:
        if command is not None:
            if bare := next((name for where, name in pairs if not where), None):
                raise typer.BadParameter(f"--secret {bare!r}: write it as VARIABLE=NAME")
            program, *arguments = shlex.split(command)
            return McpStdioServer(command=program, args=tuple(arguments), secret_env=dict(pairs))
        if url is not None:
            return McpHttpServer(url=url, auth=tuple(_auth(where, name) for where, name in pairs))
    except ValidationError as e:
        raise BadToolSpec(
            "--secret: this is no name of a secret; give the name (capitals, digits and _), never the value"
        ) from e
    if secrets:
        raise typer.BadParameter("--secret goes with --mcp-command and --mcp-url; a definition names its own")
    return None


def _auth(header: str, name: str) -> Auth:
    return ApiKeyAuth(place="header", name=header, secret=name) if header else BearerAuth(secret=name)


def _read(
    here: Home, definition: str | None, server: McpServer | None, prefix: str
) -> tuple[tuple[ToolSpec, ...], tuple[Skipped, ...]]:
    outbound = open_outbound(here.settings)
    if definition is not None:
        return (asyncio.run(_http_tool(definition, outbound, here.secret_source)),), ()
    if server is not None:
        found = asyncio.run(survey(server, outbound, prefix=prefix, secrets=here.secret_source))
        return found.tools, found.skipped
    return tuple(builtin_tools(here.settings.home)), ()


async def _http_tool(definition: str, outbound: Outbound, secrets: SecretSource) -> ToolSpec:
    spec = http_tool(_parse(definition, await _load(definition, outbound)))
    await check_reach(spec, outbound, secrets)
    return spec


async def _load(definition: str, outbound: Outbound) -> str | bytes:
    if definition.startswith(("http://", "https://")):
        return (await fetch_document(outbound, definition)).body
    return sys.stdin.read() if definition == "-" else Path(definition).read_text(encoding="utf-8")


def _parse(definition: str, text: str | bytes) -> dict[str, Any]:
    try:
        data = jsonlib.loads(text)
    except jsonlib.JSONDecodeError as e:
        raise BadToolSpec(f"{definition}: line {e.lineno}: not JSON: {e.msg}") from e
    if not isinstance(data, dict):
        raise BadToolSpec(f"{definition}: a tool's definition is a JSON object with name, parameters and endpoint")
    return data


def _add_all(here: Home, found: Survey, *, replace: bool) -> list[ToolSpec]:
    """All or, where a name is taken, none."""
    taken = {s.name for s in here.catalogue.registered()} & {s.name for s in found.tools}
    if taken and not replace:
        raise DuplicateTool(f"registered already: {', '.join(sorted(taken))}; give --replace or --prefix")
    return here.holds.register_all(found, replace=replace)


@app.command("list")
def list_tools(
    drafts: Annotated[bool, typer.Option(help="The drafts instead.")] = False,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only tools with this tag; repeatable, for all of them.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Only tools of this person or team.")] = None,
    state: Annotated[ToolState | None, typer.Option(help="Only tools in this state.")] = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """The registered tools, or the drafts."""
    if drafts and state is not None:
        raise typer.BadParameter("--state goes with registered tools; a draft is a draft")
    wanted = Wanted(tuple(tag or ()), owner, state)
    with open_home(home=home) as here:
        specs = [draft.spec for draft in here.drafts.list()] if drafts else here.catalogue.registered()
        standings = {} if drafts else here.holds.standings()
    stands = [
        (s, "draft" if drafts else standings.get(s.name, Standing()).state.value)
        for s in specs
        if wanted.fits(s, standings.get(s.name))
    ]
    if json:
        write_json({"tools": [plain(s) | {"state": state} for s, state in stands]}, json)
        return
    rows = [
        [s.name, state, s.backend.kind, s.side_effect.value, ", ".join(s.required), s.description]
        for s, state in stands
    ]
    columns = ("name", "state", "backend", "effect", "required", "description")
    show_table("Drafts" if drafts else "Tools", columns, rows)


@app.command()
def show(
    name: str,
    draft: Annotated[bool, typer.Option(help="The draft of that name.")] = False,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """One tool's definition."""
    with open_home(home=home) as here:
        spec = here.drafts.get(name).spec if draft else here.catalogue.get(name)
    write_json(plain(spec), json or "-")


@app.command()
def remove(name: str, home: HomeOption = None) -> None:
    """Take a tool out of service; its versions and traces stay."""
    with open_home(home=home) as here:
        here.catalogue.remove(name)
    console.print(f"{name} is removed")
