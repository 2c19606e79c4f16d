"""/v1/audit: who did what to which thing."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from runtime.services import Services, services

router = APIRouter()


@router.get("/v1/audit")
async def list_audit(
    hone: Annotated[Services, Depends(services)],
    action: str | None = None,
    user: str | None = None,
    thing: str | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> dict[str, Any]:
    """Newest first; `action` in full or its noun (`key`), `before` is the `next` of the page before."""
    found = await asyncio.to_thread(
        hone.audit.list,
        action=action,
        user=user,
        thing=thing,
        since=since,
        until=until,
        limit=limit,
        before=before,
    )
    following = found[-1].seq if len(found) == limit else None
    return {"object": "list", "data": [{"object": "audit", **entry.plain()} for entry in found], "next": following}
