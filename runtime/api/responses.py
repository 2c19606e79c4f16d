"""/v1/responses: OpenAI's Responses API, plain and streamed, and its responses once more by their ids.

A response is a trace under another name: `resp_<x>` is the trace `trace_<x>`, and what the thread was when that turn ended is
in the thread's checkpoint. So a response goes on from exactly there, in the same thread where that has not gone on since, and
else in a new one.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from runtime.agent.admission import Mark
from runtime.agent.consent import waiting_reply
from runtime.agent.messages import Reply
from runtime.agent.running import RunningTurn, TurnResult
from runtime.agent.threads import PastTurn
from runtime.api.access import Sender, admitted
from runtime.api.chat import KEEP_OUT_OF_CACHES
from runtime.api.chat_response import headers
from runtime.api.clients import for_client, result_for
from runtime.api.errors import envelope, response_to
from runtime.api.openai_headers import once_only
from runtime.api.repetition import mark_of
from runtime.api.request_shapes import THREAD_ID
from runtime.api.responses_request import ResponsesRequest, echo, turn_request
from runtime.api.responses_response import (
    Frame,
    closing_events,
    failed_event,
    finished,
    opening_events,
    progress_event,
    trace_id,
)
from runtime.errors import BadRequest, ResponseNotFound, RuntimeFault, TraceNotFound
from runtime.services import Services, services
from runtime.traces.schema import Span, Trace

log = structlog.get_logger(__name__)
router = APIRouter()

FIELD_NAMES = {"messages": "input"}
"""How this API calls what chat calls otherwise."""


@router.post("/v1/responses", response_model=None)
async def create_response(
    request: Request,
    asked: ResponsesRequest,
    hone: Annotated[Services, Depends(services)],
    sender: Sender,
    mark: Annotated[Mark, Depends(mark_of)],
    x_hone_thread: Annotated[str | None, Header(pattern=THREAD_ID)] = None,
) -> Response:
    """One turn of a conversation; a request that was sent before gets the response of its turn."""
    after: PastTurn | None = None
    if asked.previous_response_id is not None:
        _, after = await _find(hone, asked.previous_response_id, param="previous_response_id")
    wanted = turn_request(asked, hone.settings, x_hone_thread, after)
    try:
        turn = await admitted(hone, sender, lambda: hone.turns.stream(wanted, mark), user=asked.user)
    except RuntimeFault as e:
        return response_to(e, names=FIELD_NAMES)
    frame = Frame(turn.trace_id, int(turn.created_at.timestamp()), echo(asked, wanted.params))
    told = headers(turn.trace_id, turn.thread_id, turn.adapter)
    if asked.stream:
        return await _streamed(hone, turn, frame, told)
    try:
        result = await result_for(request, turn, hone)
    except Exception as e:  # whatever the turn failed with; the answer still names its trace
        return _failed(e, turn, told)
    return JSONResponse(finished(frame, result), headers=told)


@router.get("/v1/responses/{response_id}", response_model=None)
async def get_response(
    response_id: str, hone: Annotated[Services, Depends(services)], stream: Annotated[bool, Query()] = False
) -> dict[str, Any]:
    """The response as it was given; one that asked for an approval is by now what came of it."""
    if stream:
        raise BadRequest("stream: a response that is over is not streamed again; leave it out", param="stream")
    trace, past = await _find(hone, response_id, param="response_id")
    reply = past.reply or await _waiting(hone, trace)
    frame = Frame(trace.id, int(trace.created_at.timestamp()), json.loads(past.echo or "{}"))
    return finished(frame, TurnResult(trace, reply, past.dropped))


@router.delete("/v1/responses/{response_id}", response_model=None)
async def delete_response(response_id: str, hone: Annotated[Services, Depends(services)]) -> None:
    await _find(hone, response_id, param="response_id")
    raise BadRequest(
        "a response is part of its thread's record and is not deleted alone; "
        "send store=false with a request whose response is not to be found again",
        param="response_id",
    )


async def _find(hone: Services, response_id: str, *, param: str) -> tuple[Trace, PastTurn]:
    """Raises: ResponseNotFound: it was never given here, it failed, or it was not to be stored."""
    wanted = trace_id(response_id)
    try:
        trace = await asyncio.to_thread(hone.traces.get, wanted) if wanted is not None else None
    except TraceNotFound:
        trace = None
    past = await hone.turns.past(trace) if trace is not None else None
    if trace is None or past is None or past.echo is None:
        raise ResponseNotFound(
            f"{param}: no response {response_id!r} is kept: it was never given here, it failed, or it was sent with store=false",
            param=param,
        )
    return trace, past


async def _waiting(hone: Services, trace: Trace) -> Reply:
    """The question that the turn waits on."""
    asked = await asyncio.to_thread(hone.approvals.list, thread_id=trace.thread_id)
    return waiting_reply(next(approval for approval in asked if approval.trace_id == trace.id))


async def _streamed(hone: Services, turn: RunningTurn, frame: Frame, told: dict[str, str]) -> Response:
    """Waits for the first news, so that a turn that fails at once is an error with a status of its own."""
    spans = aiter(turn)
    first = await anext(spans, None)
    if first is None:
        try:
            await turn.result()
        except Exception as e:  # as above
            return _failed(e, turn, told)
    events = for_client(hone, turn, _numbered(_events(turn, first, spans, frame)))
    return StreamingResponse(events, media_type="text/event-stream", headers=told | KEEP_OUT_OF_CACHES)


async def _events(
    turn: RunningTurn, first: Span | None, rest: AsyncIterator[Span], frame: Frame
) -> AsyncIterator[dict[str, Any]]:
    for event in opening_events(frame):
        yield event
    if first is not None:
        yield progress_event(frame, first)
    async for span in rest:
        yield progress_event(frame, span)
    try:
        result = await turn.result()
    except Exception as e:  # the status is sent already, so the error is the last event
        log.warning("stream failed", trace=turn.trace_id, error=f"{type(e).__name__}: {e}")
        yield failed_event(frame, envelope(e, FIELD_NAMES)["error"])
    else:
        for event in closing_events(frame, result):
            yield event


async def _numbered(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    number = 0
    async for event in events:
        data = json.dumps({**event, "sequence_number": number}, ensure_ascii=False, separators=(",", ":"))
        yield f"event: {event['type']}\ndata: {data}\n\n"
        number += 1


def _failed(error: Exception, turn: RunningTurn, told: dict[str, str]) -> Response:
    log.warning("response failed", trace=turn.trace_id, error=f"{type(error).__name__}: {error}")
    return response_to(error, told | once_only(turn), FIELD_NAMES)
