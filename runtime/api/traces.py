"""/v1/traces: what was recorded of each turn, and what was proved of it."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from runtime.agent.threads import own_thread
from runtime.api.chat_response import step
from runtime.services import Services, services
from runtime.traces.schema import Trace

router = APIRouter()


@router.get("/v1/traces")
async def list_traces(
    hone: Annotated[Services, Depends(services)],
    thread: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: str | None = None,
) -> dict[str, Any]:
    """Newest first; `before` is the id of the last trace of the page before."""
    thread_id = own_thread(thread) if thread is not None else None
    page = await asyncio.to_thread(hone.traces.list, thread_id=thread_id, limit=limit, before=before)
    return {
        "object": "list",
        "data": [_summary(trace) for trace in page],
        "next": page[-1].id if len(page) == limit else None,
    }


@router.get("/v1/traces/{trace_id}", response_model=None)
async def get_trace(trace_id: str, hone: Annotated[Services, Depends(services)]) -> JSONResponse:
    """The whole record, with the verdicts on its spans."""
    trace = await asyncio.to_thread(hone.traces.get, trace_id)
    verdicts = await asyncio.to_thread(_verdicts, hone, trace)
    return JSONResponse({"object": "trace", **trace.model_dump(mode="json"), "verdicts": verdicts})


def _verdicts(hone: Services, trace: Trace) -> dict[str, Any]:
    """Span id → verdict."""
    found = {span.id: hone.traces.verdict(span.id) for span in trace.spans}
    return {span_id: verdict.model_dump(mode="json") for span_id, verdict in found.items() if verdict is not None}


def _summary(trace: Trace) -> dict[str, Any]:
    return {
        "object": "trace",
        "id": trace.id,
        "thread": trace.thread_id,
        "user": trace.user,
        "created_at": trace.created_at.isoformat(),
        "model": trace.model,
        "adapter": trace.adapter,
        "status": trace.status.value,
        "error": trace.error,
        "steps": [step(span) for span in trace.spans],
    }
