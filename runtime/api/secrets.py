"""/v1/secrets: values of tools' secrets are written here and never read back."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, SecretStr

from runtime.services import Services, services
from tools.secret_store import StoredSecret

router = APIRouter()


class Value(BaseModel):
    model_config = ConfigDict(extra="forbid")

    value: SecretStr
    hosts: list[str] | None = None
    """Where it may be sent; None: where the value before might. They come with a value alone: whoever does not know it cannot
    have it sent anywhere else."""
    tools: list[str] | None = None
    """Names of the tools that may send it, also with `*` and `?`; empty: any; None: as the value before."""


@router.get("/v1/secrets")
async def list_secrets(hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Names, versions, dates, and where each may be sent."""
    stored = await asyncio.to_thread(hone.secrets.list)
    return {"object": "list", "data": [_shown(secret) for secret in stored]}


@router.put("/v1/secrets/{name}", response_model=None)
async def set_secret(name: str, body: Value, hone: Annotated[Services, Depends(services)]) -> Response:
    """201: the first version of a name; 200: a new one, which calls use from now on."""
    value = body.value.get_secret_value()
    stored = await asyncio.to_thread(hone.secrets.set, name, value, hosts=body.hosts, tools=body.tools)
    return JSONResponse(_shown(stored), status_code=201 if stored.version == 1 else 200)


@router.delete("/v1/secrets/{name}", status_code=204)
async def remove_secret(name: str, hone: Annotated[Services, Depends(services)]) -> Response:
    """The value is erased; calls that name it fail, unless the server's environment has one."""
    await asyncio.to_thread(hone.secrets.remove, [name])
    return Response(status_code=204)


@router.post("/v1/secrets/rotate-key")
async def rotate_key(hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """A new master key; values and versions stay as they are."""
    done = await asyncio.to_thread(hone.secrets.rotate_key)
    return {"object": "rotation", "key_id": done.key_id, "rewrapped": done.rewrapped}


def _shown(secret: StoredSecret) -> dict[str, Any]:
    return {
        "object": "secret",
        "name": secret.name,
        "version": secret.version,
        "created_at": secret.created_at.isoformat(),
        "changed_at": secret.changed_at.isoformat(),
        "opens": secret.opens,
        "hosts": list(secret.bounds.hosts),
        "tools": list(secret.bounds.tools),
    }
