"""All operations of a description: chosen, named, made into tools, or skipped with the reason and the place."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from tools.catalogue import RESERVED_NAMES, check_spec
from tools.errors import BadImport, BadToolSpec
from tools.importers.http import BY_METHOD, HEADER_NAME
from tools.importers.openapi.arguments import build_arguments
from tools.importers.openapi.document import Document, Unusable, pointer_to
from tools.importers.openapi.inputs import Inputs, read_inputs
from tools.importers.openapi.security import credentials, security_schemes
from tools.importers.openapi.servers import base_url, checked
from tools.importers.survey import Skipped, Survey
from tools.outcome import shorten
from tools.request_layout import placeholders
from tools.spec import HttpBackend, HttpMethod, Place, SecretName, ToolSpec

METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace", "query")
_USED: Mapping[str, HttpMethod] = {method.lower(): method for method in BY_METHOD}
MAX_NAME_CHARS = 64
MAX_OPERATIONS = 2_000
"""Made into tools at once: each takes milliseconds, a broken one more."""
MAX_SCHEMA_CHARS = 200_000
"""Of one tool's arguments as JSON: no prompt could show more."""
_MAX_DESCRIPTION_CHARS = 1_000
"""Services for models take descriptions of up to 1,024 characters."""
_SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the developer wants of a description."""

    only: tuple[str, ...] = ()
    """Globs; an operation is chosen when one of them fits its operationId, tool name, `METHOD /path`, path or a tag.
    Empty: all."""
    base_url: str | None = None
    """Calls go here instead of to the servers that the description names."""
    secrets: Mapping[str, SecretName] = field(default_factory=dict)
    """Security scheme, or parameter that a secret fills → name of the secret."""
    prefix: str = ""
    """Goes before each tool's name."""


@dataclass(frozen=True, slots=True)
class _Operation:
    method: str
    """Lower case."""
    path: str
    item: Mapping[str, Any]
    item_place: str
    node: Any
    place: str

    @property
    def label(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def operation_id(self) -> str | None:
        given = self.node.get("operationId") if isinstance(self.node, Mapping) else None
        return given if isinstance(given, str) and given.strip() else None

    @property
    def tags(self) -> tuple[str, ...]:
        tags = self.node.get("tags") if isinstance(self.node, Mapping) else None
        return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()


def survey_openapi(document: Document, choice: Choice | None = None) -> Survey:
    """
    Raises: BadImport: the choice fits nothing, or asks for what the description does not have.
    """
    choice = choice if choice is not None else Choice()
    _check_secret_names(choice)
    skipped: list[Skipped] = []
    named = list(_named(list(_operations(document, skipped)), choice.prefix))
    if not named and not skipped:
        raise BadImport(f"{document.source}: /paths: describes no operation")
    chosen = [(operation, name) for operation, name in named if _fits(operation, name, choice.only)]
    _check_globs(choice.only, named, document)
    if len(chosen) > MAX_OPERATIONS:
        raise BadImport(
            f"{document.source}: {len(chosen):,} operations, more than {MAX_OPERATIONS:,}; choose with only"
        )
    tools: list[ToolSpec] = []
    used: set[str] = set()
    for operation, name in chosen:
        try:
            tools.append(_tool(document, operation, name, choice, used))
        except Unusable as e:
            skipped.append(Skipped(operation.operation_id or operation.label, e.reason, e.place or "/"))
        except BadToolSpec as e:
            skipped.append(Skipped(operation.operation_id or operation.label, str(e), operation.place))
        except ValidationError as e:
            reason = e.errors(include_url=False)[0]["msg"]
            skipped.append(Skipped(operation.operation_id or operation.label, reason, operation.place))
        except RecursionError:
            reason = "its schema is nested too deeply"
            skipped.append(Skipped(operation.operation_id or operation.label, reason, operation.place))
    _check_secrets_used(document, choice, used)
    return Survey(tuple(tools), tuple(skipped))


def _operations(document: Document, skipped: list[Skipped]) -> Iterator[_Operation]:
    for path, entry in document.root.get("paths", {}).items():
        if not path.startswith("/"):
            continue  # x-...
        place = pointer_to("/paths", path)
        try:
            item, place = document.follow(entry, place)
        except Unusable as e:
            skipped.append(Skipped(path, e.reason, e.place))
            continue
        for method in METHODS:
            if method in item:
                yield _Operation(method, path, item, place, item[method], pointer_to(place, method))


def _named(operations: list[_Operation], prefix: str) -> Iterator[tuple[_Operation, str]]:
    """Each operation with a name of its own that models accept."""
    taken = set(RESERVED_NAMES)
    for operation in operations:
        base = tool_name(f"{prefix}{operation.operation_id or f'{operation.method}_{operation.path}'}")
        name, number = base, 2
        while name in taken:
            name, number = f"{base[: MAX_NAME_CHARS - 4]}_{number}", number + 1
        taken.add(name)
        yield operation, name


def tool_name(text: str) -> str:
    """`text` as a name: letters, digits, `_` and `-`, not longer than 64, beginning with a letter or `_`."""
    name = re.sub(r"_+", "_", re.sub(r"[^a-zA-Z0-9_-]", "_", text)).strip("_")[:MAX_NAME_CHARS].rstrip("_")
    if not name or not (name[0].isalpha() or name[0] == "_"):
        name = f"call_{name}"[:MAX_NAME_CHARS].rstrip("_")
    return name


def _fits(operation: _Operation, name: str, only: tuple[str, ...]) -> bool:
    return not only or any(_matches(operation, name, glob) for glob in only)


def _matches(operation: _Operation, name: str, glob: str) -> bool:
    # A path's own braces and brackets are text: only * and ? are wild.
    pattern = glob.replace("[", "[[]")
    method, _, rest = pattern.partition(" ")
    if rest:
        pattern = f"{method.upper()} {rest.strip()}"
    offered = (operation.operation_id, name, operation.label, operation.path, *operation.tags)
    return any(fnmatchcase(text, candidate) for text in offered if text for candidate in (pattern, glob))


def _check_globs(only: tuple[str, ...], named: list[tuple[_Operation, str]], document: Document) -> None:
    for glob in only:
        if not any(_matches(operation, name, glob) for operation, name in named):
            known = shorten(", ".join(name for _, name in named), 400) or "none"
            raise BadImport(f"{document.source}: no operation fits {glob!r}; there are: {known}")


def _check_secret_names(choice: Choice) -> None:
    for key, name in choice.secrets.items():
        if not _SECRET.fullmatch(name):
            raise BadImport(
                f"secrets: {key}: this is no name of a secret; give the name (capitals, digits and _), never the value"
            )


def _check_secrets_used(document: Document, choice: Choice, used: set[str]) -> None:
    schemes = security_schemes(document)[0]
    for key in choice.secrets:
        if key not in schemes and key not in used:
            raise BadImport(
                f"secrets: {key!r} is no security scheme and no parameter of the chosen operations; "
                f"schemes: {', '.join(schemes) or 'none'}"
            )


def _tool(document: Document, operation: _Operation, name: str, choice: Choice, used: set[str]) -> ToolSpec:
    node = operation.node
    if not isinstance(node, Mapping):
        raise Unusable("an operation must be an object", operation.place)
    method = _USED.get(operation.method)
    if method is None:
        told = f"{operation.method.upper()} is no method that tools use; there are: {', '.join(BY_METHOD)}"
        raise Unusable(told, operation.place)
    inputs = read_inputs(document, operation.item, operation.item_place, node, operation.place)
    _check_sendable(inputs, operation)
    base = _base(document, operation, choice)
    fillable = {key: secret for key, secret in choice.secrets.items() if key not in security_schemes(document)[0]}
    arguments = build_arguments(document, inputs, fillable)
    size = len(json.dumps(arguments.parameters))
    if size > MAX_SCHEMA_CHARS:
        raise Unusable(f"its arguments take {size:,} characters, more than {MAX_SCHEMA_CHARS:,}", operation.place)
    auth = credentials(document, node, operation.place, choice.secrets, base)
    used |= {placed.name for placed in arguments.layout.placements if placed.secret is not None}
    spec = ToolSpec(
        name=name,
        description=_description(operation),
        parameters=arguments.parameters,
        backend=HttpBackend(
            url=base + _without_fragment(operation.path), method=method, layout=arguments.layout, auth=auth
        ),
        side_effect=BY_METHOD[method],
    )
    check_spec(spec)
    return spec


def _check_sendable(inputs: Inputs, operation: _Operation) -> None:
    """Raises: Unusable: path and path parameters do not fit, a header that cannot be, a body where HTTP has none."""
    wanted = placeholders(operation.path)
    declared = {part.name for part in inputs.parameters if part.place is Place.PATH}
    if wanted - declared:
        missing = ", ".join(sorted(wanted - declared))
        raise Unusable(f"the path has {{{missing}}}, which no parameter describes", operation.place)
    if declared - wanted:
        unused = ", ".join(sorted(declared - wanted))
        raise Unusable(f"the path has no {{{unused}}}, which a parameter describes", operation.place)
    for part in inputs.parameters:
        if part.place is Place.HEADER and not HEADER_NAME.fullmatch(part.name):
            raise Unusable(f"{part.name!r} is no header name", part.schema_place)


def _base(document: Document, operation: _Operation, choice: Choice) -> str:
    if choice.base_url is not None:
        try:
            return checked(choice.base_url, "/servers")
        except Unusable as e:
            raise BadImport(f"base_url: {choice.base_url!r} is no HTTP address; write https://host/path") from e
    levels = [(operation.node, operation.place), (operation.item, operation.item_place)]
    return base_url(document, levels)


def _without_fragment(path: str) -> str:
    """A fragment never reaches a server (RFC 9110, 4.2.5); some descriptions use one to tell equal paths apart."""
    return path.partition("#")[0]


def _description(operation: _Operation) -> str:
    told = [operation.node.get(key) for key in ("summary", "description")]
    texts = [text.strip() for text in told if isinstance(text, str) and text.strip()]
    if len(texts) == 2 and texts[1].startswith(texts[0].rstrip(".")):
        texts = texts[1:]
    text = " ".join(f"{part.rstrip('.')}." for part in texts) or f"{operation.label}."
    marked = f"(deprecated) {text}" if operation.node.get("deprecated") is True else text
    return shorten(marked, _MAX_DESCRIPTION_CHARS)
