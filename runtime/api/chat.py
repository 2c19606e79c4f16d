"""POST /v1/chat/completions: OpenAI's chat, plain and streamed."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from runtime.agent.admission import Mark
from runtime.agent.running import RunningTurn
from runtime.api.access import Sender, admitted
from runtime.api.chat_request import ChatRequest, turn_request
from runtime.api.chat_response import Identity, chunk, chunks, completion, headers, progress_chunk
from runtime.api.clients import for_client, result_for
from runtime.api.errors import envelope, response_to
from runtime.api.openai_headers import once_only
from runtime.api.repetition import mark_of
from runtime.api.request_shapes import THREAD_ID
from runtime.errors import told
from runtime.services import Services, services
from runtime.traces.schema import Span

log = structlog.get_logger(__name__)
router = APIRouter()

KEEP_OUT_OF_CACHES = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@router.post("/v1/chat/completions", response_model=None)
async def create_chat_completion(
    request: Request,
    chat: ChatRequest,
    hone: Annotated[Services, Depends(services)],
    sender: Sender,
    mark: Annotated[Mark, Depends(mark_of)],
    x_hone_thread: Annotated[str | None, Header(pattern=THREAD_ID)] = None,
) -> Response:
    """One turn of a conversation; a request that was sent before gets the answer of its turn."""
    wanted = turn_request(chat, hone.settings, x_hone_thread)
    turn = await admitted(hone, sender, lambda: hone.turns.stream(wanted, mark), user=chat.user)
    identity = Identity(trace_id=turn.trace_id, model=chat.model, created=int(turn.created_at.timestamp()))
    named = headers(turn.trace_id, turn.thread_id, turn.adapter)
    if chat.stream:
        return await _streamed(hone, turn, identity, named, with_usage=chat.wants_usage)
    try:
        result = await result_for(request, turn, hone)
    except Exception as e:  # whatever the turn failed with; the response still names its trace
        return _failed(e, named | once_only(turn))
    return JSONResponse(completion(identity, result), headers=named)


async def _streamed(
    hone: Services, turn: RunningTurn, identity: Identity, named: dict[str, str], *, with_usage: bool
) -> Response:
    """Waits for the first news, so that a turn that fails at once is an error with a status of its own."""
    spans = aiter(turn)
    first = await anext(spans, None)
    if first is None:
        try:
            await turn.result()
        except Exception as e:  # as above
            return _failed(e, named | once_only(turn))
    events = for_client(hone, turn, _events(turn, first, spans, identity, with_usage=with_usage))
    return StreamingResponse(events, media_type="text/event-stream", headers=named | KEEP_OUT_OF_CACHES)


async def _events(
    turn: RunningTurn, first: Span | None, rest: AsyncIterator[Span], identity: Identity, *, with_usage: bool
) -> AsyncIterator[str]:
    yield _event(chunk(identity, {"role": "assistant", "content": ""}, with_usage=with_usage))
    if first is not None:
        yield _event(progress_chunk(identity, first, with_usage=with_usage))
    async for span in rest:
        yield _event(progress_chunk(identity, span, with_usage=with_usage))
    try:
        result = await turn.result()
    except Exception as e:  # the status is sent already, so the error is the last event
        log.warning("stream failed", trace=turn.trace_id, error=told(e))
        yield _event(envelope(e))
    else:
        for shaped in chunks(identity, result, with_usage=with_usage):
            yield _event(shaped)
    yield "data: [DONE]\n\n"


def _failed(error: Exception, named: dict[str, str]) -> Response:
    log.warning("chat failed", trace=named["x-hone-trace"], error=told(error))
    return response_to(error, named)


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
