"""/livez: the process answers. /readyz: it can serve a turn; if not, what is missing and what to do about it."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from runtime.health import PartStatus, examine
from runtime.services import Services, services
from tools.tenancy import acting

router = APIRouter()


@router.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(hone: Annotated[Services, Depends(services)]) -> JSONResponse:
    """503 when a required part is missing; `degraded` when only others are."""
    with acting(None):  # whoever asks, it is about the whole server
        parts = await examine(hone)
    failed = [part for part in parts if part.status is PartStatus.FAILED]
    missing = [part.name for part in failed if part.required]
    body: dict[str, Any] = {
        "status": "not ready" if missing else "degraded" if failed else "ready",
        "missing": missing,
        "parts": [asdict(part) for part in parts],
        "model": hone.policy.model,
        "serving": hone.live.current().name,
        "adapters": jsonable_encoder(hone.live.status()),
    }
    return JSONResponse(body, status_code=503 if missing else 200, headers={"cache-control": "no-store"})
