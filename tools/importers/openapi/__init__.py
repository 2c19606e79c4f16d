"""From an OpenAPI description (3.0, 3.1 or Swagger 2.0) to one tool for each operation.

    source     where the text comes from: a file, or a URL
    document   the text as data, and what its `$ref`s point to
    schema     OpenAPI's schemas as JSON Schema 2020-12
    inputs     parameters and body of one operation, in one form for all three versions
    arguments  those inputs as one schema of arguments with the place of each
    security   which credentials an operation takes
    servers    the address that an operation is called at
    survey     all of it: operations chosen, named, made into tools or skipped with the reason

Everything but `source` is pure. Nothing is registered here; whether the tools may be called is for `tools.reach`.
"""

from tools.importers.openapi.document import Document, read_document
from tools.importers.openapi.source import fetch_description, load_document
from tools.importers.openapi.survey import Choice, survey_openapi

__all__ = ["Choice", "Document", "fetch_description", "load_document", "read_document", "survey_openapi"]
