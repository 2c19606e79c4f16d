"""/v1/tools/{name}/test: one call by the tool's developer, to see that it works."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from runtime.services import Services, services
from tools.trial import try_tool

router = APIRouter()


class TrialRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    arguments: dict[str, Any] | None = None
    """None: what the definition holds: examples, defaults, choices."""
    draft: bool = False
    """The draft of that name."""
    may_change: bool = False
    """Call it though it changes something."""


@router.post("/v1/tools/{name}/test")
async def make_trial(
    name: str, hone: Annotated[Services, Depends(services)], body: TrialRequest | None = None
) -> dict[str, Any]:
    """`status` is what came of the call, or `not_called` with a reason."""
    body = body if body is not None else TrialRequest()
    if body.draft:
        spec = (await asyncio.to_thread(hone.drafts.get, name)).spec
    else:
        spec = await asyncio.to_thread(hone.catalogue.get, name)
    trial = await try_tool(hone.executor, spec, body.arguments, may_change=body.may_change)
    return {"object": "tool_trial", **trial.plain()}
