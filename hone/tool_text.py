"""A tool as `hone tools` shows it to programs."""

from collections.abc import Sequence
from typing import Any

from tools.importers.survey import Survey
from tools.lint import Finding
from tools.request_secrets import secret_names
from tools.spec import HttpBackend, McpBackend, ToolSpec


def plain(spec: ToolSpec) -> dict[str, Any]:
    """Stable keys; headers and the environment of MCP servers may hold secrets and are left out."""
    shown: dict[str, Any] = {
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
        "backend": spec.backend.kind,
        "side_effect": spec.side_effect.value,
        "approval": spec.approval.value,
        "never_train": spec.never_train,
        "owner": spec.owner,
        "tags": list(spec.tags),
        "examples": [example.model_dump(mode="json") for example in spec.examples],
        "sha256": spec.sha256,
    }
    if isinstance(spec.backend, HttpBackend):
        shown |= {"url": spec.backend.url, "method": spec.backend.method}
    if isinstance(spec.backend, HttpBackend | McpBackend):
        shown["needs"] = secret_names(spec)
    return shown


def plain_survey(found: Survey, findings: Sequence[Finding] = ()) -> dict[str, Any]:
    """What an import made, what it left out, what waits to be looked at, and what the linter says of the rest."""
    return {
        "tools": [plain(spec) for spec in found.tools],
        "skipped": [part.plain() for part in found.skipped],
        "flagged": [part.plain() for part in found.flagged],
        "warnings": [finding.plain() for finding in findings],
    }
