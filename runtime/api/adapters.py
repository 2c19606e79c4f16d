"""/v1/adapters: what was published, what serves, and the operator's two levers: promote and roll back."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.encoders import jsonable_encoder

from runtime.errors import BadRequest
from runtime.policy.deployment import AdapterRecord, AdapterState, Channel, Deployment
from runtime.services import Services, services

router = APIRouter()


@router.get("/v1/adapters")
async def list_adapters(hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Newest first, with what the deployment points at and what this server serves."""
    records = await asyncio.to_thread(hone.deployment.list)
    return {"object": "list", "data": [_shown(record) for record in records], **await _standing(hone)}


@router.post("/v1/adapters/rollback")
async def roll_back(hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Back to the nearest ancestor that has served before, or to the base model."""
    await asyncio.to_thread(_point_back, hone.deployment)
    await hone.live.refresh()
    return await _standing(hone)


@router.post("/v1/adapters/{name}/promote")
async def promote(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Makes an adapter serve everyone."""
    await asyncio.to_thread(hone.deployment.point, Channel.INCUMBENT, name, reason="promoted by an operator")
    await hone.live.refresh()
    return await _standing(hone)


async def _standing(hone: Services) -> dict[str, Any]:
    incumbent = await asyncio.to_thread(hone.deployment.current)
    return {
        "incumbent": incumbent.name if incumbent else None,
        "serving": hone.live.current().name,
        "status": jsonable_encoder(hone.live.status()),
    }


def _point_back(deployment: Deployment) -> None:
    current = deployment.current()
    if current is None:
        raise BadRequest("the base model serves: there is nothing to roll back")
    records = {record.name: record for record in deployment.list()}
    deployment.point(Channel.INCUMBENT, _ancestor(current, records), reason=f"rolled back from {current.name}")


def _ancestor(record: AdapterRecord, records: dict[str, AdapterRecord]) -> str | None:
    """The nearest ancestor that has served and may serve again; None: the base."""
    seen = {record.name}
    parent = record.parent
    while parent is not None and parent in records and parent not in seen:
        if records[parent].state is AdapterState.RETIRED:
            return parent
        seen.add(parent)
        parent = records[parent].parent
    return None


def _shown(record: AdapterRecord) -> dict[str, Any]:
    return {
        "object": "adapter",
        "name": record.name,
        "version": record.version,
        "state": record.state.value,
        "sha256": record.sha256,
        "parent": record.parent,
        "created_at": record.created_at.isoformat(),
        "gate": jsonable_encoder(record.manifest.gate),
    }
