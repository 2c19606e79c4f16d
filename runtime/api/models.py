"""GET /v1/models: the names that a chat request may give as its model."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from runtime.services import Services, services

router = APIRouter()


@router.get("/v1/models")
async def list_models(hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """`hone` follows the deployment, `hone@incumbent` its incumbent alone; `hone@base` and `hone@v12` stay what they are."""
    return {"object": "list", "data": [_model(name) for name in await hone.turns.models()]}


@router.get("/v1/models/{name}")
async def get_model(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    await hone.turns.pinned(name)
    return _model(name)


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "hone"}
