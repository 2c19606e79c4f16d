"""/v1/approvals: the calls that wait for a person, and the person's answers."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict

from runtime.agent.threads import own_thread
from runtime.agent.turn_request import LIVE
from runtime.api.access import Sender, admitted
from runtime.api.chat_response import Identity, completion, headers
from runtime.api.errors import response_to
from runtime.approvals.schema import Approval, ApprovalState, Verdict
from runtime.services import Services, services

router = APIRouter()


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    thread: str | None = None
    """The thread from which the answer comes; another thread's question is not found. None: whoever may speak for all."""


@router.get("/v1/approvals")
async def list_approvals(
    hone: Annotated[Services, Depends(services)],
    state: ApprovalState | None = None,
    thread: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """Newest first; `state=pending`: those that may still be approved."""
    thread_id = own_thread(thread) if thread is not None else None
    found = await asyncio.to_thread(hone.approvals.list, state=state, thread_id=thread_id, limit=limit)
    return {"object": "list", "data": [shown(approval) for approval in found]}


@router.get("/v1/approvals/{approval_id}")
async def get_approval(approval_id: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    return shown(await asyncio.to_thread(hone.approvals.get, approval_id))


@router.post("/v1/approvals/{approval_id}/{verdict}", response_model=None)
async def answer(
    approval_id: str,
    verdict: Verdict,
    hone: Annotated[Services, Depends(services)],
    sender: Sender,
    body: Answer | None = None,
) -> Response:
    """`approve` or `decline`; answers when the turn has gone on, with what it said as `completion`."""
    thread = own_thread(body.thread) if body is not None and body.thread is not None else None
    turn = await admitted(hone, sender, lambda: hone.answers.decide(approval_id, verdict, via="http", thread_id=thread))
    told = headers(turn.trace_id, turn.thread_id, turn.adapter)
    try:
        result = await turn.result()
    except Exception as e:  # the answer counts; what the turn failed with is what there is to say
        return response_to(e, told)
    identity = Identity(trace_id=turn.trace_id, model=LIVE, created=int(time.time()))
    decided = await asyncio.to_thread(hone.approvals.get, approval_id)
    return JSONResponse({**shown(decided), "completion": completion(identity, result)}, headers=told)


def shown(approval: Approval) -> dict[str, Any]:
    """An approval as the API shows it."""
    times = ("created_at", "expires_at", "decided_at", "used_at")
    plain = approval.model_dump(mode="json")
    return {
        "object": "approval",
        "id": approval.id,
        "state": approval.state.value,
        "tool": approval.ask.tool,
        "arguments": approval.ask.arguments,
        "tool_sha256": approval.ask.tool_sha256,
        "why": approval.ask.why.value,
        "thread": approval.thread_id,
        "trace": approval.trace_id,
        "user": approval.user,
        **{name: plain[name] for name in times},
    }
