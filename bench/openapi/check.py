"""Imports one description, calls every tool with few and with all arguments, and compares what arrived."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from bench.openapi.described_server import CREDENTIAL, TOKEN, TOKEN_PATH, DescribedServer
from bench.openapi.sample_arguments import Sampler
from tools.destinations import AllowList
from tools.execution import Executor
from tools.importers.openapi import Choice, Document, survey_openapi
from tools.importers.survey import Skipped
from tools.json_schema import argument_errors
from tools.outcome import NO_CONTENT
from tools.request_secrets import secret_names
from tools.secret_bounds import host_entry
from tools.secrets import HOSTS_PREFIX, PREFIX, EnvironmentSecrets
from tools.spec import CallStatus, ClientCredentialsAuth, HttpBackend, Place, ToolSpec
from tools.transport import Outbound


@dataclass
class Report:
    """What came of one description."""

    source: str
    tools: int = 0
    skipped: tuple[Skipped, ...] = ()
    calls: int = 0
    right: int = 0
    """Calls whose every argument arrived at its place with its value."""
    faults: list[str] = field(default_factory=list)
    unsampled: list[str] = field(default_factory=list)
    """Tools and arguments that no value fits, or for which none could be made up."""


async def check(document: Document) -> Report:
    async with _serving(document.root) as url:
        found = survey_openapi(document, Choice(base_url=url))
        report = Report(document.source, tools=len(found.tools), skipped=found.skipped)
        named = {name for spec in found.tools for name in secret_names(spec)}
        secrets = EnvironmentSecrets(
            {PREFIX + name: CREDENTIAL for name in named} | {HOSTS_PREFIX + name: host_entry(url) for name in named}
        )
        outbound = Outbound(AllowList.parse([url.removeprefix("http://")]))
        executor = Executor(outbound=outbound, secrets=secrets)
        try:
            for spec in found.tools:
                for everything in (False, True):
                    await _call(executor, _with_local_tokens(spec, url), report, everything=everything)
        finally:
            await executor.close()
    return report


async def _call(executor: Executor, spec: ToolSpec, report: Report, *, everything: bool) -> None:
    arguments = Sampler(spec.parameters, everything=everything).arguments(_in_headers(spec))
    faults = argument_errors(spec.parameters, arguments)
    if faults:
        report.unsampled.append(f"{spec.name}: {faults[0]}")
        return
    if everything:
        report.unsampled += [f"{spec.name}: {name}" for name in spec.parameters["properties"] if name not in arguments]
    report.calls += 1
    result = await executor.run(spec, arguments, call_id="check-1")
    fault = _fault(spec, arguments, result.status, result.content)
    if fault is None:
        report.right += 1
    else:
        report.faults.append(f"{spec.name} {json.dumps(arguments, ensure_ascii=False)[:300]}: {fault}")


def _fault(spec: ToolSpec, arguments: Mapping[str, Any], status: CallStatus, content: str) -> str | None:
    if status is not CallStatus.OK:
        return content
    for secret in (*CREDENTIAL.split(":"), TOKEN):
        if secret in content:
            return f"a secret came through: {content}"
    if _backend(spec).method == "HEAD":
        return None if content == NO_CONTENT else content
    received = json.loads(content)["received"]
    for name, value in arguments.items():
        arrived = _arrived(spec, name, received)
        if not _same(value, arrived):
            return f"{name}: sent {value!r}, arrived {arrived!r}"
    return None


def _arrived(spec: ToolSpec, argument: str, received: Mapping[str, Any]) -> Any:
    layout = _backend(spec).layout
    placed = next(p for p in (layout.placements if layout else ()) if p.argument == argument)
    if placed.place is Place.WHOLE_BODY:
        return received["body"]
    return (received[placed.place.value] or {}).get(placed.name)


def _same(sent: Any, arrived: Any) -> bool:
    """Equal, or the same text where the description gives no type; a null in a form or a query is left out."""
    return sent == arrived or str(arrived) == str(sent)


def _in_headers(spec: ToolSpec) -> frozenset[str]:
    layout = _backend(spec).layout
    placed = layout.placements if layout is not None else ()
    return frozenset(p.argument for p in placed if p.place is Place.HEADER and p.argument is not None)


def _backend(spec: ToolSpec) -> HttpBackend:
    assert isinstance(spec.backend, HttpBackend)  # the importer makes no other
    return spec.backend


def _with_local_tokens(spec: ToolSpec, url: str) -> ToolSpec:
    """The description's token server is elsewhere; the check asks its own."""
    backend = _backend(spec)
    auth = tuple(
        part.model_copy(update={"token_url": url + TOKEN_PATH}) if isinstance(part, ClientCredentialsAuth) else part
        for part in backend.auth
    )
    return spec.model_copy(update={"backend": backend.model_copy(update={"auth": auth})})


@asynccontextmanager
async def _serving(root: Mapping[str, Any]) -> AsyncIterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(DescribedServer(root).app(), log_level="critical", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
