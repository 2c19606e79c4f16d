"""Whether a tool's calls lead where tools may call: told to the developer at registration, not to a user at the first call.

Nothing rests on it: each connection is checked again where it is made (`tools.transport`).
"""

import asyncio
import re

from tools.errors import DestinationRefused
from tools.importers.survey import Skipped, Survey
from tools.spec import ClientCredentialsAuth, HttpBackend, ToolSpec
from tools.transport import Outbound

_ORIGIN = re.compile(r"https?://[^/?#]+")


async def check_reach(spec: ToolSpec, outbound: Outbound) -> None:
    """Raises: DestinationRefused: naming the address at fault and the setting."""
    for url in called_addresses(spec):
        await outbound.check(url)


async def within_reach(found: Survey, outbound: Outbound) -> Survey:
    """What was found, with the tools among the skipped that would call what they may not."""
    origins = list(dict.fromkeys(_origin(url) for spec in found.tools for url in called_addresses(spec)))
    told = await asyncio.gather(*(_fault(origin, outbound) for origin in origins))
    faults = {origin: fault for origin, fault in zip(origins, told, strict=True) if fault is not None}
    tools: list[ToolSpec] = []
    skipped = list(found.skipped)
    for spec in found.tools:
        fault = next((faults[at] for at in map(_origin, called_addresses(spec)) if at in faults), None)
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


async def _fault(origin: str, outbound: Outbound) -> str | None:
    try:
        await outbound.check(origin)
    except DestinationRefused as e:
        return str(e)
    return None
