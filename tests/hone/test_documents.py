"""What documents name is there: files, variables, and a definition that registers."""

import json
import re
from pathlib import Path

import pytest

from learner.rows import Row
from learner.settings import LearnerSettings
from runtime.settings import Settings
from tools.importers.http import http_tool
from tools.spec import SideEffect

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "models/README.md")),
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "log.md"),
]
VARIABLE = r"HONE_[A-Z_]+[A-Z]"
PREFIXES = ("HONE_LEARN_", "HONE_SECRET_", "HONE_HOSTS_", "HONE_OIDC_")
"""Of several variables, where a document speaks of all of them."""


def blocks(name: str) -> list[str]:
    return re.findall(r"```json\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_a_document_names_are_there(document: Path) -> None:
    named = re.findall(
        r"`((?:docs|models|docker|learner|runtime|tools|hone|tests)/[\w./*-]+)`", document.read_text(encoding="utf-8")
    )
    assert not [path for path in named if not list(ROOT.glob(path.rstrip("/")))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_variables_that_a_document_names_are_settings(document: Path) -> None:
    known = {f"HONE_{name.upper()}" for name in Settings.model_fields}
    known |= {f"HONE_LEARN_{name.upper()}" for name in LearnerSettings.model_fields}
    known |= {
        name for path in (ROOT / "hone").glob("*.py") for name in re.findall(VARIABLE, path.read_text(encoding="utf-8"))
    }
    named = set(re.findall(VARIABLE, document.read_text(encoding="utf-8")))
    assert not {name for name in named - known if not f"{name}_".startswith(PREFIXES)}


def test_the_definition_of_a_tool_in_the_documents_registers() -> None:
    (definition,) = blocks("docs/tools.md")
    spec = http_tool(json.loads(definition))
    assert (spec.name, spec.side_effect, len(spec.examples)) == ("find_flights", SideEffect.READ, 3)


def test_the_row_in_the_documents_is_a_row() -> None:
    (text,) = blocks("docs/evaluation.md")
    assert Row.model_validate_json(text).truth.decision == "execute"
