"""Whether a tool's calls lead where tools may call, and its secrets where they may go: told to the developer at registration,
not to a user at the first call.

Nothing rests on it: each connection is checked again where it is made (`tools.transport`), and each secret where it is
handed out (`tools.http_auth`). A secret that is not set yet is no fault: it may be set before it is needed.
"""

import asyncio
import re
from collections.abc import Iterable

from tools.errors import DestinationRefused, SecretOutOfBounds
from tools.importers.survey import Skipped, Survey
from tools.request_secrets import secret_uses
from tools.secret_bounds import Use
from tools.secrets import SecretSource
from tools.spec import ClientCredentialsAuth, HttpBackend, ToolSpec
from tools.transport import Outbound

_ORIGIN = re.compile(r"https?://[^/?#]+")


async def check_reach(spec: ToolSpec, outbound: Outbound, secrets: SecretSource) -> None:
    """
    Raises:
        DestinationRefused: naming the address at fault and the setting.
        SecretOutOfBounds: naming the secret, the host and the remedy.
    """
    for url in called_addresses(spec):
        await outbound.check(url)
    await check_secrets(secret_uses(spec), outbound, secrets)


async def check_secrets(uses: Iterable[Use], outbound: Outbound, secrets: SecretSource) -> None:
    """Raises: SecretOutOfBounds: as `check_reach`; BadSecret: the operator's hosts of one cannot be read."""
    for use in uses:
        bounds = await asyncio.to_thread(secrets.bounds, use.secret)
        fault = bounds.fault(use, outbound.allowed) if bounds is not None else None
        if fault is not None:
            raise SecretOutOfBounds(f"the secret {use.secret}: {fault}")


async def within_reach(found: Survey, outbound: Outbound, secrets: SecretSource) -> Survey:
    """What was found, with the tools among the skipped that would call what they may not, or send what they may not there."""
    origins = list(dict.fromkeys(_origin(url) for spec in found.tools for url in called_addresses(spec)))
    told = await asyncio.gather(*(_fault(origin, outbound) for origin in origins))
    faults = {origin: fault for origin, fault in zip(origins, told, strict=True) if fault is not None}
    tools: list[ToolSpec] = []
    skipped = list(found.skipped)
    for spec in found.tools:
        fault = next((faults[at] for at in map(_origin, called_addresses(spec)) if at in faults), None)
        if fault is None:
            fault = await _secret_fault(spec, outbound, secrets)
        if fault is None:
            tools.append(spec)
        else:
            skipped.append(Skipped(spec.name, fault))
    return Survey(tuple(tools), tuple(skipped))


def called_addresses(spec: ToolSpec) -> tuple[str, ...]:
    """Where an HTTP tool's calls go: its endpoint, and the servers that give it tokens."""
    if not isinstance(spec.backend, HttpBackend):
        return ()
    tokens = (auth.token_url for auth in spec.backend.auth if isinstance(auth, ClientCredentialsAuth))
    return (spec.backend.url, *tokens)


def _origin(url: str) -> str:
    """All tools of one server share it, so a description of 500 operations asks for one name once."""
    found = _ORIGIN.match(url)
    return found[0] if found is not None else url


async def _secret_fault(spec: ToolSpec, outbound: Outbound, secrets: SecretSource) -> str | None:
    try:
        await check_secrets(secret_uses(spec), outbound, secrets)
    except SecretOutOfBounds as e:
        return str(e)
    return None


async def _fault(origin: str, outbound: Outbound) -> str | None:
    try:
        await outbound.check(origin)
    except DestinationRefused as e:
        return str(e)
    return None
