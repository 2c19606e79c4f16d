"""/v1/tools/{name}/diff, accept, disable, enable: tools that are kept out of use, and what to do about it."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from runtime.api.tools import standing
from runtime.services import Services, services

router = APIRouter()


@router.get("/v1/tools/{name}/diff")
async def show_difference(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """What a quarantined tool's server changed in its definition."""
    change = await asyncio.to_thread(hone.holds.change, name)
    return {
        "object": "tool.diff",
        "name": name,
        "old": change.old,
        "new": change.new,
        "lines": change.lines,
        "flagged": [part.plain() for part in change.flagged],
    }


@router.post("/v1/tools/{name}/accept")
async def accept(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Makes a new version of what a quarantined tool's server offers now."""
    await asyncio.to_thread(hone.holds.accept, name)
    return await _shown(name, hone)


@router.post("/v1/tools/{name}/disable")
async def disable(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Keeps a tool out of use until it is enabled again."""
    await asyncio.to_thread(hone.holds.disable, name)
    return await _shown(name, hone)


@router.post("/v1/tools/{name}/enable")
async def enable(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Puts a disabled tool into use; one that is quarantined stays so."""
    await asyncio.to_thread(hone.holds.enable, name)
    return await _shown(name, hone)


async def _shown(name: str, hone: Services) -> dict[str, Any]:
    spec = await asyncio.to_thread(hone.catalogue.get, name)
    return standing(spec, await asyncio.to_thread(hone.holds.standings))
