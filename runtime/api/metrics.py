"""GET /metrics: for Prometheus, in its text format or OpenMetrics."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.responses import Response

from runtime.services import Services, services
from runtime.telemetry.standing import look
from tools.tenancy import acting

router = APIRouter()


@router.get("/metrics", response_class=Response)
async def metrics(hone: Annotated[Services, Depends(services)], accept: Annotated[str, Header()] = "") -> Response:
    assert hone.metrics is not None  # the route is there only where they are
    with acting(None):  # figures of the whole server
        body, content_type = await asyncio.to_thread(hone.metrics.exposition, accept, await look(hone))
    return Response(body, headers={"content-type": content_type})
