"""/v1/tool-calls: what tools were called, what came of it, and what a person has yet to find out."""

import asyncio
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from runtime.database import compact
from runtime.services import Services, services
from tools.journal import CallRecord
from tools.spec import CallStatus

router = APIRouter()

Status: TypeAlias = Literal["started"] | CallStatus


class Settlement(BaseModel):
    """What a person has found out about an unknown call."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ok", "failed"]
    """ok: it happened; failed: it did not."""
    result: str = Field(default="", max_length=65_536)
    """What the tool would have answered, or what went wrong."""
    note: str = Field(default="", max_length=4_096)
    """For the record: how it was found out, and by whom."""


@router.get("/v1/tool-calls")
async def list_calls(
    hone: Annotated[Services, Depends(services)],
    status: Status | None = None,
    tool: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> dict[str, Any]:
    """Newest first; `before` is the `next` of the page before."""
    page = await asyncio.to_thread(hone.journal.list, status=status, tool=tool, limit=limit, before=before)
    return {
        "object": "list",
        "data": [shown(record) for record in page],
        "next": page[-1].seq if len(page) == limit else None,
    }


@router.delete("/v1/tool-calls")
async def purge_calls(before: AwareDatetime, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Removes the calls that ended, and the approvals that were settled, before an instant."""
    calls = await asyncio.to_thread(hone.journal.purge, before)
    approvals = await asyncio.to_thread(hone.approvals.purge, before)
    await asyncio.to_thread(compact, hone.engine)
    return {"object": "purge", "removed": {"calls": calls, "approvals": approvals}}


@router.get("/v1/tool-calls/{call_id}")
async def get_call(call_id: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    return shown(await asyncio.to_thread(hone.journal.get, call_id))


@router.post("/v1/tool-calls/{call_id}/settle")
async def settle_call(call_id: str, body: Settlement, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """409 unless the call is unknown. A repetition of the call is told what is said here."""
    outcome = CallStatus.OK if body.status == "ok" else CallStatus.FAILED
    record = await asyncio.to_thread(hone.journal.settle, call_id, outcome, result=body.result, note=body.note)
    return shown(record)


def shown(record: CallRecord) -> dict[str, Any]:
    """A call as the API shows it."""
    return {
        "object": "tool_call",
        "id": record.call_id,
        "tool": record.tool,
        "version": record.version,
        "tool_sha256": record.tool_sha256,
        "arguments": record.arguments,
        "side_effect": record.side_effect.value,
        "idempotency_key": record.idempotency_key,
        "status": record.status,
        "attempts": record.attempts,
        "result": record.content,
        "latency_ms": record.latency_ms,
        "started_at": record.started_at.isoformat(),
        "finished_at": None if record.finished_at is None else record.finished_at.isoformat(),
        "note": record.note,
        "settled_at": None if record.settled_at is None else record.settled_at.isoformat(),
    }
