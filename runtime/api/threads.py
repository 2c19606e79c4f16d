"""/v1/threads: conversations are erased here."""

import asyncio
import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from runtime.agent.threads import own_thread
from runtime.services import Services, services

router = APIRouter()


@router.delete("/v1/threads/{thread_id}")
async def erase_thread(thread_id: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Traces, verdicts, approvals, journal rows and checkpoints of a thread; 409 while a turn runs in it or a call is open."""
    thread_id = own_thread(thread_id)
    async with hone.threads.alone(thread_id):
        erased = await asyncio.to_thread(hone.erasure.erase, thread_id)
    return {"object": "erasure", "thread": thread_id, "erased": dataclasses.asdict(erased)}
