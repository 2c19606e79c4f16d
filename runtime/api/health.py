"""/livez: the process answers. /readyz: it can serve a turn; if not, what is missing."""

import asyncio
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from fastapi.encoders import jsonable_encoder
from fastapi.responses import JSONResponse

from runtime.database import reading
from runtime.errors import PolicyError, StoreError
from runtime.services import Services, services

router = APIRouter()


@router.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(hone: Annotated[Services, Depends(services)]) -> JSONResponse:
    missing = [fault for fault in (await _database(hone), await _policy(hone), _follower(hone)) if fault]
    body: dict[str, Any] = {
        "status": "not ready" if missing else "ready",
        "missing": missing,
        "model": hone.policy.model,
        "serving": hone.live.current().name,
        "adapters": jsonable_encoder(hone.live.status()),
    }
    return JSONResponse(body, status_code=503 if missing else 200)


async def _database(hone: Services) -> str | None:
    def ask() -> None:
        with reading(hone.engine) as connection:
            connection.execute(sa.select(1))

    try:
        await asyncio.to_thread(ask)
    except StoreError as e:
        return f"database: {e}"
    return None


async def _policy(hone: Services) -> str | None:
    try:
        await hone.policy.adapters()
    except PolicyError as e:
        return f"policy: {e}"
    return None


def _follower(hone: Services) -> str | None:
    if hone.is_following():
        return None
    return "adapters: the task that follows the deployment has stopped; restart the server"
