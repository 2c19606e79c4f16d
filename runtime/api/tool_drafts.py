"""/v1/tools/import and /v1/tools/{name}/draft: OpenAPI descriptions as drafts, changed, then put into service."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from runtime.api.tools import Limit, shown, shown_survey, warnings_on
from runtime.errors import BadRequest
from runtime.services import Services, services
from tools.importers.openapi import Choice, Document, fetch_description, read_document, survey_openapi
from tools.importers.openapi.document import as_document
from tools.importers.openapi.source import is_url
from tools.listing import Wanted, page
from tools.reach import check_reach, within_reach
from tools.trimming import Change

router = APIRouter()


class ImportRequest(BaseModel):
    """One of `url`, `text` and `openapi`, and what is wanted of it."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    """Where the description is."""
    text: str | None = None
    """The description, JSON or YAML."""
    openapi: dict[str, Any] | None = None
    """The description as an object."""
    only: list[str] = []
    base_url: str | None = None
    secrets: dict[str, str] = {}
    """Security scheme or parameter → name of the secret that fills it."""
    prefix: str = ""
    live: bool = False
    replace: bool = False


class PublishRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    replace: bool = False


@router.post("/v1/tools/import", response_model=None)
async def import_tools(body: ImportRequest, hone: Annotated[Services, Depends(services)]) -> Response:
    """201: something was kept; 200: nothing was, and `skipped` says why."""
    document = await _document(body, hone)
    choice = Choice(tuple(body.only), body.base_url, body.secrets, body.prefix)
    found = await within_reach(
        await asyncio.to_thread(survey_openapi, document, choice), hone.outbound, hone.secret_source
    )
    kept = await asyncio.to_thread(hone.drafts.import_all, found, document.source, live=body.live, replace=body.replace)
    warnings = await asyncio.to_thread(warnings_on, hone, kept.tools)
    return JSONResponse({**shown_survey(kept), "warnings": warnings}, status_code=201 if kept.tools else 200)


@router.get("/v1/tool-drafts")
async def list_drafts(
    hone: Annotated[Services, Depends(services)],
    tag: Annotated[list[str] | None, Query()] = None,
    owner: str | None = None,
    limit: Limit = 200,
    after: str | None = None,
) -> dict[str, Any]:
    """By name, as `/v1/tools` lists tools."""
    drafts = {draft.spec.name: draft for draft in await asyncio.to_thread(hone.drafts.list)}
    wanted = Wanted(tuple(tag or ()), owner)
    fitting = [draft.spec for draft in drafts.values() if wanted.fits(draft.spec)]
    specs, following = page(fitting, after=after, limit=limit)
    data = [{**shown(spec), "source": drafts[spec.name].source} for spec in specs]
    return {"object": "list", "data": data, "next": following}


@router.get("/v1/tools/{name}/draft")
async def get_draft(name: str, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    draft = await asyncio.to_thread(hone.drafts.get, name)
    return {**shown(draft.spec), "source": draft.source}


@router.patch("/v1/tools/{name}/draft")
async def change_draft(name: str, body: Change, hone: Annotated[Services, Depends(services)]) -> dict[str, Any]:
    return shown(await asyncio.to_thread(hone.drafts.change, name, body))


@router.delete("/v1/tools/{name}/draft", status_code=204)
async def discard_draft(name: str, hone: Annotated[Services, Depends(services)]) -> Response:
    await asyncio.to_thread(hone.drafts.discard, name)
    return Response(status_code=204)


@router.post("/v1/tools/{name}/publish", status_code=201)
async def publish_draft(
    name: str, hone: Annotated[Services, Depends(services)], body: PublishRequest | None = None
) -> dict[str, Any]:
    replace = body.replace if body is not None else False
    draft = await asyncio.to_thread(hone.drafts.get, name)
    await check_reach(draft.spec, hone.outbound, hone.secret_source)
    (spec,) = await asyncio.to_thread(hone.drafts.publish, [name], replace=replace)
    return shown(spec)


async def _document(body: ImportRequest, hone: Services) -> Document:
    """Raises: BadRequest: not one source, or an address of another kind; as `fetch_description`."""
    if sum(part is not None for part in (body.url, body.text, body.openapi)) != 1:
        raise BadRequest("give one of url, text and openapi", param="url")
    if body.url is not None:
        if not is_url(body.url):
            raise BadRequest(f"url: {body.url!r} is no HTTP address; write https://host/path", param="url")
        return await fetch_description(hone.outbound, body.url)
    if body.text is not None:
        return await asyncio.to_thread(read_document, body.text, source="text")
    return as_document(body.openapi, source="openapi")
