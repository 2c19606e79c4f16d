"""`hone tools import`, `edit`, `publish`, `discard`: from an OpenAPI description to tools in service."""

import asyncio
import json as jsonlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from hone.home import Home, open_home
from hone.output import JsonOption, console, write_json
from hone.tool_quality import warn
from hone.tool_text import plain, plain_survey
from hone.tool_trial import run_trials, tell
from runtime.outbound import open_outbound
from tools.errors import BadToolSpec
from tools.examples import json_path
from tools.importers.openapi import Choice, fetch_description, load_document, survey_openapi
from tools.importers.openapi.source import is_url
from tools.importers.survey import Survey
from tools.lint import lint_all
from tools.reach import check_reach, within_reach
from tools.request_secrets import secret_uses
from tools.secret_bounds import host_entry
from tools.secrets import HOSTS_PREFIX, PREFIX, SecretSource
from tools.spec import ApprovalRule, SideEffect
from tools.transport import Outbound
from tools.trimming import Change

MAX_WARNINGS = 20
"""Of an import's; `hone tools lint` has them all."""
HomeOption = Annotated[Path | None, typer.Option(help="Where state lives.")]


def import_tools(
    source: Annotated[str, typer.Argument(metavar="SPEC", help="File or URL: OpenAPI 3.0, 3.1 or Swagger 2.0.")],
    only: Annotated[
        list[str] | None, typer.Option(help="Glob on operationId, tool name, 'METHOD /path', path or tag; repeatable.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="Call this address instead of the description's servers.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="SCHEME=NAME", help="Scheme or parameter that the secret NAME fills; repeatable."),
    ] = None,
    prefix: Annotated[str, typer.Option(help="Goes before the names of the tools.")] = "",
    live: Annotated[bool, typer.Option(help="Put the tools into service at once, not as drafts.")] = False,
    replace: Annotated[bool, typer.Option(help="Take the place of drafts or tools of the same names.")] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Call each that only reads and whose arguments the description holds.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Make a tool of each operation of an OpenAPI description; drafts until they are published."""
    choice = Choice(tuple(only or ()), base_url, _pairs(secret, "--secret"), prefix)
    with open_home(home=home) as here:
        found, shown = asyncio.run(_survey(source, choice, open_outbound(here.settings), here.secret_source))
        kept = here.drafts.import_all(found, shown, live=live, replace=replace)
        findings = lint_all(kept.tools, here.catalogue.list())
        trials = run_trials(here, kept.tools) if test else None
    if json:
        told = plain_survey(kept, findings)
        write_json(told if trials is None else {**told, "trials": [trial.plain() for trial in trials]}, json)
    else:
        warn(findings, most=MAX_WARNINGS)
        _tell(kept, live=live)
        if trials is not None:
            tell(trials)
    if not kept.tools:
        raise typer.Exit(1)


def edit(
    name: str,
    rename: Annotated[str | None, typer.Option(help="New name of the tool.")] = None,
    describe: Annotated[str | None, typer.Option(help="New description of the tool.")] = None,
    side_effect: Annotated[SideEffect | None, typer.Option(help="What a call may change.")] = None,
    approval: Annotated[ApprovalRule | None, typer.Option(help="Which calls wait for a person.")] = None,
    owner: Annotated[str | None, typer.Option(help="Person or team.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Takes the place of all tags; repeatable.")] = None,
    examples: Annotated[
        Path | None, typer.Option(help="JSON file: a list of utterances, each with its decision.", dir_okay=False)
    ] = None,
    never_train: Annotated[
        bool | None, typer.Option("--never-train/--train", help="Measure on the tool, or learn on it.")
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Leave out this optional argument; repeatable.")] = None,
    fix: Annotated[
        list[str] | None, typer.Option(metavar="ARGUMENT=VALUE", help="Always send this value (JSON, or plain text).")
    ] = None,
    rename_argument: Annotated[list[str] | None, typer.Option(metavar="OLD=NEW")] = None,
    describe_argument: Annotated[list[str] | None, typer.Option(metavar="ARGUMENT=TEXT")] = None,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Change a draft before it goes live."""
    change = _change(
        name=rename,
        description=describe,
        side_effect=side_effect,
        approval=approval,
        owner=owner,
        tags=tag,
        examples=_examples(examples),
        never_train=never_train,
        drop=tuple(drop or ()),
        fix={argument: _value(text) for argument, text in _pairs(fix, "--fix").items()},
        rename=_pairs(rename_argument, "--rename-argument"),
        describe=_pairs(describe_argument, "--describe-argument"),
    )
    with open_home(home=home) as here:
        spec = here.drafts.change(name, change)
    if json:
        write_json(plain(spec), json)
        return
    console.print(f"draft {spec.name}: {', '.join(spec.parameters.get('properties', {})) or 'no arguments'}")


def publish(
    names: Annotated[list[str] | None, typer.Argument(help="Drafts to put into service.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All drafts.")] = False,
    replace: Annotated[bool, typer.Option(help="Make new versions of tools of the same names.")] = False,
    home: HomeOption = None,
    json: JsonOption = None,
) -> None:
    """Put drafts into service, all or none."""
    if bool(names) == every:
        raise typer.BadParameter("give names of drafts, or --all")
    with open_home(home=home) as here:
        chosen = [draft.spec.name for draft in here.drafts.list()] if every else names or []
        asyncio.run(_check_reach(here, chosen))
        specs = here.drafts.publish(chosen, replace=replace)
    if json:
        write_json({"tools": [plain(spec) for spec in specs]}, json)
        return
    console.print(f"in service: {', '.join(spec.name for spec in specs) or 'nothing, since there are no drafts'}")


def discard(name: str, home: HomeOption = None) -> None:
    """Throw a draft away."""
    with open_home(home=home) as here:
        here.drafts.discard(name)
    console.print(f"the draft {name} is gone")


async def _check_reach(here: Home, names: Sequence[str]) -> None:
    """Raises: as `check_reach`: what was bound since a draft was made counts."""
    outbound = open_outbound(here.settings)
    for name in names:
        await check_reach(here.drafts.get(name).spec, outbound, here.secret_source)


async def _survey(source: str, choice: Choice, outbound: Outbound, secrets: SecretSource) -> tuple[Survey, str]:
    """What the description offers, and what messages call it."""
    document = await fetch_description(outbound, source) if is_url(source) else load_document(Path(source))
    return await within_reach(survey_openapi(document, choice), outbound, secrets), document.source


def _tell(kept: Survey, *, live: bool) -> None:
    state = "in service" if live else "drafts"
    console.print(f"{state} ({len(kept.tools)}): {', '.join(spec.name for spec in kept.tools) or 'none'}", markup=False)
    for part in kept.skipped:
        at = f" at {part.place}" if part.place else ""
        console.print(f"left out: {part.name}: {part.reason}{at}", markup=False)
    uses = {(use.secret, host_entry(use.to)) for spec in kept.tools for use in secret_uses(spec)}
    for name in sorted({name for name, _ in uses}):
        hosts = " ".join(f"--host {host}" for other, host in sorted(uses) if other == name)
        console.print(f"calls take a secret: hone secrets set {name} {hosts}", markup=False, highlight=False)
    if uses:
        console.print(f"or, in the server's environment: {PREFIX}NAME and, with its hosts, {HOSTS_PREFIX}NAME")
    if kept.tools and not live:
        console.print("next: hone tools publish NAME, or --all")


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{option} {text!r}: write it as KEY=VALUE")
        pairs[key] = value
    return pairs


def _change(**given: Any) -> Change:
    """Raises: BadToolSpec: naming the field at fault."""
    try:
        return Change.model_validate(given)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        raise BadToolSpec(f"{json_path(first['loc'])}: {first['msg']}") from e


def _examples(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        return jsonlib.loads(file.read_text(encoding="utf-8"))
    except jsonlib.JSONDecodeError as e:
        raise BadToolSpec(f"{file}: line {e.lineno}: not JSON: {e.msg}") from e


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    try:
        return jsonlib.loads(text)
    except ValueError:
        return text
