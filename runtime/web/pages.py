"""The chat page: rendered here, brought to life by static/chat.js."""

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from runtime.services import Services, services
from tools.spec import ToolSpec
from tools.tenancy import NOBODY, caller

HERE = Path(__file__).parent
STATIC = HERE / "static"

router = APIRouter(include_in_schema=False)
_templates = Jinja2Templates(directory=HERE / "templates")

_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


@router.get("/", response_class=HTMLResponse)
async def chat_page(request: Request, hone: Annotated[Services, Depends(services)]) -> HTMLResponse:
    is_open = caller() is not NOBODY
    context = {
        "needs_key": not is_open,
        "tools": await _tools(hone) if is_open else [],
        "policy": hone.live.current().name or "base",
        "model": Path(hone.policy.model).name,
    }
    return _templates.TemplateResponse(request, "chat.html", context, headers=_HEADERS)


@router.get("/tools", response_class=HTMLResponse)
async def tools_list(request: Request, hone: Annotated[Services, Depends(services)]) -> HTMLResponse:
    """The page's list of tools, for a key that the page was given."""
    return _templates.TemplateResponse(request, "tools.html", {"tools": await _tools(hone)}, headers=_HEADERS)


async def _tools(hone: Services) -> list[dict[str, object]]:
    return [_card(spec) for spec in await asyncio.to_thread(hone.catalogue.list)]


def _card(spec: ToolSpec) -> dict[str, object]:
    """What the sidebar shows of a tool."""
    properties = spec.parameters.get("properties")
    described = properties if isinstance(properties, dict) else {}
    parameters = [
        {
            "name": name,
            "type": _type_name(schema),
            "required": name in spec.required,
            "description": schema.get("description", "") if isinstance(schema, dict) else "",
        }
        for name, schema in described.items()
    ]
    return {
        "name": spec.name,
        "description": spec.description,
        "parameters": parameters,
        "kind": spec.backend.kind,
        "side_effect": spec.side_effect.value,
    }


def _type_name(schema: object) -> str:
    if not isinstance(schema, dict):
        return "any"
    if "enum" in schema:
        return "one of " + ", ".join(str(choice) for choice in schema["enum"][:6])
    kind = schema.get("type", "any")
    return " or ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
