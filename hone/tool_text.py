"""A tool as `hone tools` shows it to programs."""

from typing import Any

from tools.importers.survey import Survey
from tools.request_secrets import secret_names
from tools.spec import HttpBackend, ToolSpec


def plain(spec: ToolSpec) -> dict[str, Any]:
    """Stable keys; headers and the environment of MCP servers may hold secrets and are left out."""
    shown: dict[str, Any] = {
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
        "backend": spec.backend.kind,
        "side_effect": spec.side_effect.value,
        "never_train": spec.never_train,
        "sha256": spec.sha256,
    }
    if isinstance(spec.backend, HttpBackend):
        shown |= {"url": spec.backend.url, "method": spec.backend.method, "needs": secret_names(spec.backend)}
    return shown


def plain_survey(found: Survey) -> dict[str, Any]:
    return {
        "tools": [plain(spec) for spec in found.tools],
        "skipped": [part.plain() for part in found.skipped],
        "flagged": [part.plain() for part in found.flagged],
    }
