"""Small descriptions for the importer's tests."""

from typing import Any

from tools.importers.openapi import Choice, survey_openapi
from tools.importers.openapi.document import as_document
from tools.importers.survey import Survey
from tools.spec import HttpBackend, RequestLayout, ToolSpec


def spec(paths: dict[str, Any], *, version: str = "3.0.3", **others: Any) -> dict[str, Any]:
    key = "swagger" if version == "2.0" else "openapi"
    where = {"host": "pets.example"} if version == "2.0" else {"servers": [{"url": "https://pets.example/v1"}]}
    return {key: version, "info": {"title": "Pets", "version": "1"}, **where, "paths": paths, **others}


def operation(**others: Any) -> dict[str, Any]:
    return {"responses": {"200": {"description": "ok"}}, **others}


def posting(schema: Any, **others: Any) -> dict[str, Any]:
    """An operation that takes `schema` as its JSON body."""
    return operation(requestBody={"required": True, "content": {"application/json": {"schema": schema}}, **others})


def surveyed(root: dict[str, Any], url: str | None = None, **choice: Any) -> Survey:
    return survey_openapi(as_document(root, source="pets", url=url), Choice(**choice))


def only_tool(root: dict[str, Any], url: str | None = None, **choice: Any) -> ToolSpec:
    found = surveyed(root, url, **choice)
    assert found.skipped == ()
    (tool,) = found.tools
    return tool


def backend(tool: ToolSpec) -> HttpBackend:
    assert isinstance(tool.backend, HttpBackend)
    return tool.backend


def layout(tool: ToolSpec) -> RequestLayout:
    found = backend(tool).layout
    assert found is not None
    return found
