"""/v1/keys: API keys of the operator's tenant; a key itself is shown once, where it is made or rotated. /v1/whoami: one's own
standing."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from runtime.access.keys import ApiKey, KeyLimits, KeyState
from runtime.access.roles import Role
from runtime.api.access import Sender
from runtime.database import utc_now
from runtime.services import Services, services

router = APIRouter()


class KeyRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    role: Role = Role.USER
    scopes: list[str] = []
    """Groups of routes; empty: all that the role may use."""
    acts_for_others: bool = False
    """Its requests may name their user (`user` in OpenAI's requests)."""
    expires_at: AwareDatetime | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None

    @property
    def limits(self) -> KeyLimits:
        return KeyLimits(self.requests_per_minute, self.tokens_per_minute, self.concurrency)


class Rotation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    overlap_s: Annotated[float, Field(ge=0, le=30 * 86_400)] = 86_400.0
    """Seconds in which the secret from before is taken too."""


@router.post("/v1/keys", status_code=201)
async def create_key(body: KeyRequest, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """`key` in the answer is what clients send; nobody is shown it again."""
    made, sent = await asyncio.to_thread(
        hone.keys.create,
        body.name,
        role=body.role,
        scopes=body.scopes,
        acts_for_others=body.acts_for_others,
        limits=body.limits,
        expires_at=body.expires_at,
    )
    return {**shown(made), "key": sent}


@router.get("/v1/keys")
async def list_keys(
    hone: Annotated[Services, Depends(services)],
    role: Role | None = None,
    state: KeyState | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: str | None = None,
) -> dict[str, Any]:
    """Newest first; `after` is the `next` of the page before."""
    found = await asyncio.to_thread(hone.keys.list, role=role, state=state, limit=limit, after=after)
    following = found[-1].prefix if len(found) == limit else None
    return {"object": "list", "data": [shown(key) for key in found], "next": following}


@router.get("/v1/keys/{prefix}")
async def get_key(prefix: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    return shown(await asyncio.to_thread(hone.keys.get, prefix))


@router.post("/v1/keys/{prefix}/rotate")
async def rotate_key(
    prefix: str, hone: Annotated[Services, Depends(services)], body: Rotation | None = None
) -> dict[str, Any]:
    """A new secret under the same prefix; the one before is taken for `overlap_s` more, a day unless said otherwise."""
    body = body if body is not None else Rotation()
    made, sent = await asyncio.to_thread(hone.keys.rotate, prefix, overlap_s=body.overlap_s)
    return {**shown(made), "key": sent}


@router.post("/v1/keys/{prefix}/revoke")
async def revoke_key(prefix: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    return shown(await asyncio.to_thread(hone.keys.revoke, prefix))


@router.get("/v1/whoami")
async def who_am_i(sender: Sender) -> dict[str, Any]:
    """What the credential of this request stands for."""
    return {
        "object": "identity",
        "tenant": sender.caller.tenant,
        "user": sender.caller.user,
        "via": sender.caller.via,
        "role": sender.standing.role.value,
        "scopes": sorted(sender.standing.scopes),
        "acts_for_others": sender.acts_for_others,
    }


def shown(key: ApiKey) -> dict[str, Any]:
    """A key as the API shows it."""
    times = ("created_at", "expires_at", "rotated_at", "former_until", "revoked_at", "last_used_at")
    return {
        "object": "api_key",
        "prefix": key.prefix,
        "name": key.name,
        "tenant": key.tenant,
        "role": key.role.value,
        "scopes": list(key.scopes),
        "acts_for_others": key.acts_for_others,
        "limits": key.limits.plain(),
        "state": key.state(utc_now()).value,
        "created_by": key.created_by,
        **{name: at.isoformat() if (at := getattr(key, name)) is not None else None for name in times},
    }
