"""/v1/system-prompt: what the policy is told at the beginning of each turn of the tenant."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict

from runtime.agent.system_prompts import SystemPrompt
from runtime.services import Services, services

router = APIRouter()


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


@router.get("/v1/system-prompt")
async def get_system_prompt(hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """What counts for the tenant: its own, else that of all tenants; `text` is null where there is none."""
    found = await asyncio.to_thread(hone.system_prompts.get)
    return _shown(found) if found is not None else {"object": "system_prompt", "tenant": None, "text": None}


@router.put("/v1/system-prompt")
async def set_system_prompt(body: Text, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Turns that begin within the next two seconds may still have the one before."""
    return _shown(await asyncio.to_thread(hone.system_prompts.set, body.text))


@router.delete("/v1/system-prompt", status_code=204)
async def clear_system_prompt(hone: Annotated[Services, Depends(services)]) -> Response:
    """The tenant's own; that of all tenants counts again."""
    await asyncio.to_thread(hone.system_prompts.clear)
    return Response(status_code=204)


def _shown(prompt: SystemPrompt) -> dict[str, Any]:
    return {
        "object": "system_prompt",
        "tenant": prompt.tenant,
        "text": prompt.text,
        "set_at": prompt.set_at.isoformat(),
    }
