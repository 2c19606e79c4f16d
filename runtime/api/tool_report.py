"""/v1/tools/{name}/report, /v1/tools/{name}/lint, /v1/tool-lint: how the agent uses a tool, and what its definition lacks."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from runtime.report.tool_report import ToolReports
from runtime.services import Services, services
from tools.lint import lint, lint_all

router = APIRouter()


@router.get("/v1/tools/{name}/report")
async def tool_report(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    report = await asyncio.to_thread(ToolReports(hone.engine).report, name)
    return {"object": "tool_report", **report.model_dump(mode="json")}


@router.get("/v1/tools/{name}/lint")
async def tool_lint(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    return await asyncio.to_thread(_lint_one, hone, name)


@router.get("/v1/tool-lint")
async def all_tool_lint(hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    """Of every registered tool."""
    return await asyncio.to_thread(_lint_all, hone)


def _lint_one(hone: Services, name: str) -> dict[str, Any]:
    found = lint(hone.catalogue.get(name), hone.catalogue.list())
    return {"object": "list", "data": [finding.plain() for finding in found]}


def _lint_all(hone: Services) -> dict[str, Any]:
    return {"object": "list", "data": [finding.plain() for finding in lint_all(hone.catalogue.list())]}
