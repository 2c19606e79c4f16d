"""A server that behaves as an OpenAPI description says: it takes what is described and refuses everything else.

Each request is matched to its operation, decoded by the styles of its parameters, validated, and echoed.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from openapi_schema_validator import OAS30WriteValidator, OAS31Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CREDENTIAL = "user-5c1e:pass-7f3a"
"""What every secret of the check holds: as a key, as a bearer token, and as a pair."""
TOKEN = "token-91bd"
TOKEN_PATH = "/-/token"
_METHODS = ("get", "head", "post", "put", "patch", "delete")
_ROOT = "urn:described"
_SEPARATORS = {"spaceDelimited": " ", "pipeDelimited": "|", "ssv": " ", "tsv": "\t", "pipes": "|"}
_IGNORED_HEADERS = {"accept", "content-type", "authorization", "idempotency-key"}
_OF_PARAMETER = {"name", "in", "required", "description", "collectionFormat", "allowEmptyValue"}


class Refused(Exception):
    """The request is not as described."""


class DescribedServer:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = _absolute(root)
        self._is_31 = str(root.get("openapi", "")).startswith("3.1")
        self._is_20 = "swagger" in root
        self._registry = Registry().with_resource(_ROOT, Resource(self._root, DRAFT202012))
        self._routes = sorted(self._operations(), key=lambda route: route[1].pattern.count("(?P"))

    def app(self) -> Starlette:
        methods = [method.upper() for method in _METHODS]
        return Starlette(
            routes=[
                Route(TOKEN_PATH, self._token, methods=["POST"]),
                Route("/{path:path}", self._answer, methods=methods),
            ]
        )

    def _operations(self) -> Iterator[tuple[str, re.Pattern[str], Mapping[str, Any], list[Any]]]:
        for path, item in self._root.get("paths", {}).items():
            if not path.startswith("/"):
                continue
            item = self._deref(item)
            pieces = re.split(r"\{([^{}]+)\}", path.partition("#")[0])
            named = [f"(?P<p{i // 2}>[^/]+)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)]
            names = pieces[1::2]
            for method in _METHODS:
                if method in item:
                    operation = {**item[method], "-names": names}
                    parameters = {
                        (p["name"], p["in"]): p
                        for p in map(self._deref, [*item.get("parameters", []), *item[method].get("parameters", [])])
                    }
                    yield method, re.compile("".join(named)), operation, list(parameters.values())

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        expected = f"Basic {base64.b64encode(CREDENTIAL.encode()).decode()}"
        if request.headers.get("authorization") != expected or form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        return JSONResponse({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600})

    async def _answer(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode().partition("?")[0]
        for method, pattern, operation, parameters in self._routes:
            found = pattern.fullmatch(raw) if method == request.method.lower() else None
            if found is not None:
                try:
                    self._check_credentials(operation, request)
                    in_path = dict(zip(operation["-names"], found.groups(), strict=True))
                    received = await self._received(operation, parameters, in_path, request)
                except Refused as e:
                    return JSONResponse({"detail": str(e)}, status_code=422)
                # A service may well repeat what it was sent; the credentials among it must not come through.
                told = {"received": received, "authorization": request.headers.get("authorization")}
                return JSONResponse(told)
        return JSONResponse({"detail": f"no operation {request.method} {raw}"}, status_code=404)

    async def _received(
        self, operation: Mapping[str, Any], parameters: list[Any], in_path: Mapping[str, str], request: Request
    ) -> dict[str, Any]:
        received: dict[str, Any] = {"path": {}, "query": {}, "header": {}, "cookie": {}}
        query = parse_qsl(request.url.query, keep_blank_values=True)
        known_keys = self._key_names(operation, "query")
        used: set[str] = set()
        for parameter in parameters:
            where, name = parameter["in"], parameter["name"]
            if where in ("body", "formData") or (where == "header" and name.lower() in _IGNORED_HEADERS):
                continue
            values, taken = self._raw(parameter, query, in_path, request)
            used |= taken
            if values is None:
                if parameter.get("required"):
                    raise Refused(f"{where} {name}: required, but missing")
                continue
            received[where][name] = self._decoded(parameter, values)
        undescribed = {name for name, _ in query} - used - known_keys
        if undescribed:
            raise Refused(f"query: not described: {', '.join(sorted(undescribed))}")
        received["body"] = await self._body(operation, parameters, request)
        return received

    def _raw(
        self, parameter: Mapping[str, Any], query: list[tuple[str, str]], in_path: Mapping[str, str], request: Request
    ) -> tuple[Any, set[str]]:
        """What was sent for a parameter, None if nothing, and the names in the query that it took."""
        name = parameter["name"]
        match parameter["in"]:
            case "path":
                return in_path.get(name), set()
            case "header":
                return request.headers.get(name), set()
            case "cookie":
                pairs = [part.strip().split("=", 1) for part in request.headers.get("cookie", "").split(";") if part]
                return next((unquote(value) for key, value in pairs if unquote(key) == name), None), set()
            case _:
                taken = [(key, value) for key, value in query if key == name or key.startswith(f"{name}[")]
                if not taken and self._style(parameter)[1] and "object" in self._types(self._schema(parameter)):
                    names = self._property_names(self._schema(parameter))
                    taken = [(key, value) for key, value in query if key in names]
                return taken or None, {key for key, _ in taken}

    def _decoded(self, parameter: Mapping[str, Any], raw: Any) -> Any:
        schema = self._schema(parameter)
        faults: list[str] = []
        for kind in self._types(schema):
            try:
                value = self._as(kind, parameter, raw, schema)
            except (ValueError, KeyError, IndexError) as e:
                faults.append(f"not {kind}: {e}")
                continue
            fault = self._fault(schema, value)
            if fault is None:
                return value
            faults.append(fault)
        raise Refused(f"{parameter['in']} {parameter['name']}: {raw!r}: {'; '.join(faults)}")

    def _as(self, kind: str, parameter: Mapping[str, Any], raw: Any, schema: Any) -> Any:
        style, explode = self._style(parameter)
        name = parameter["name"]
        if "content" in parameter:
            return json.loads(raw[0][1] if isinstance(raw, list) else unquote(raw))
        if isinstance(raw, str) and parameter["in"] == "path":
            raw = _without_prefix(raw, name, style)
        if kind == "array":
            items = self._array(raw, name, style, explode)
            item_schema = self._deref(schema).get("items", {})
            return [_scalar(next(iter(self._types(item_schema)), "string"), item) for item in items]
        if kind == "object":
            return self._object(raw, name, style, explode, schema)
        if isinstance(raw, list):
            if len(raw) != 1 or raw[0][0] != name:
                raise ValueError("more than one value")
            raw = raw[0][1]
        elif parameter["in"] == "path":
            raw = unquote(raw)
        return _scalar(kind, raw)

    def _array(self, raw: Any, name: str, style: str, explode: bool) -> list[str]:
        separator = _SEPARATORS.get(style, ",")
        if isinstance(raw, list):
            values = [value for _, value in raw]
            return values if explode and style not in _SEPARATORS else values[0].split(separator)
        if style == "matrix" and explode:
            return [unquote(part.split("=", 1)[1]) for part in f"{name}={raw}".split(";")]
        separator = "." if style == "label" and explode else separator
        return [unquote(part) for part in raw.split(separator)]

    def _object(self, raw: Any, name: str, style: str, explode: bool, schema: Any) -> dict[str, Any]:
        if isinstance(raw, list) and style == "deepObject":
            pairs = [(key[len(name) + 1 : -1], value) for key, value in raw]
        elif isinstance(raw, list) and explode:
            pairs = raw
        else:
            text = raw[0][1] if isinstance(raw, list) else raw
            if explode:
                pairs = [part.split("=", 1) for part in re.split(r"[,.;]", text)]
            else:
                parts = text.split(_SEPARATORS.get(style, ","))
                pairs = list(zip(parts[::2], parts[1::2], strict=True))
        properties = self._deref(schema).get("properties", {})
        return {
            unquote(key): _scalar(next(iter(self._types(properties.get(unquote(key), {}))), "string"), unquote(value))
            for key, value in pairs
        }

    async def _body(self, operation: Mapping[str, Any], parameters: list[Any], request: Request) -> Any:
        content = await request.body()
        described = self._described_body(operation, parameters)
        if not content:
            if described is not None and described[1]:
                raise Refused("body: required, but missing")
            return None
        if described is None:
            raise Refused("body: none is described")
        sent = request.headers.get("content-type", "").partition(";")[0]
        schemas = described[0]
        if sent not in schemas:
            raise Refused(f"content-type {sent!r}: there are {', '.join(schemas)}")
        schema, encoding = schemas[sent]
        value: Any
        if sent.endswith("json"):
            value = json.loads(content)
        elif sent in ("application/x-www-form-urlencoded", "multipart/form-data"):
            value = await self._form(schema, encoding, request)
        else:
            value = content.decode()
        fault = self._fault(schema, value)
        if fault is not None:
            raise Refused(f"body: {fault}")
        return value

    async def _form(self, schema: Any, encoding: Mapping[str, Any], request: Request) -> dict[str, Any]:
        form = await request.form()
        fields = [(key, value) for key, value in form.multi_items() if isinstance(value, str)]
        properties = self._properties(schema)
        value: dict[str, Any] = {}
        for name in dict.fromkeys(key.partition("[")[0] for key, _ in fields):
            if name not in properties:
                raise Refused(f"body: {name}: not described")
            mine = [(key, text) for key, text in fields if key.partition("[")[0] == name]
            kind = next(iter(self._types(properties[name])), "string")
            if kind == "object" and mine[0][0] == name:
                value[name] = json.loads(mine[0][1])
                continue
            usual = {"style": "form", "explode": not self._is_20}
            parameter = {"name": name, "in": "query", "schema": properties[name], **usual, **encoding.get(name, {})}
            if self._is_20:
                parameter = {**properties[name], "name": name, "in": "query"}
            value[name] = self._decoded(parameter, mine)
        return value

    def _described_body(self, operation: Mapping[str, Any], parameters: list[Any]) -> Any:
        """(schema and encoding by content type, required), or None."""
        if not self._is_20:
            body = self._deref(operation.get("requestBody"))
            if not body:
                return None
            media = {kind.partition(";")[0]: self._deref(part) for kind, part in body["content"].items()}
            media = {("application/json" if "*" in kind else kind): part for kind, part in media.items()}
            schemas = {kind: (part.get("schema", {}), part.get("encoding", {})) for kind, part in media.items()}
            return schemas, body.get("required", False)
        fields = [p for p in parameters if p["in"] == "formData"]
        if fields:
            schema = {
                "type": "object",
                "properties": {
                    p["name"]: {k: v for k, v in p.items() if k not in {"name", "in", "required"}} for p in fields
                },
                "required": [p["name"] for p in fields if p.get("required")],
            }
            kinds = ("application/x-www-form-urlencoded", "multipart/form-data")
            return {kind: (schema, {}) for kind in kinds}, bool(schema["required"])
        for parameter in parameters:
            if parameter["in"] == "body":
                consumes = operation.get("consumes") or self._root.get("consumes") or ["application/json"]
                return {kind: (parameter.get("schema", {}), {}) for kind in consumes}, parameter.get("required", False)
        return None

    def _check_credentials(self, operation: Mapping[str, Any], request: Request) -> None:
        wanted = operation.get("security", self._root.get("security"))
        if wanted and not any(all(self._has(name, request) for name in part) for part in wanted):
            raise Refused("credentials: none that is described")

    def _schemes(self) -> Mapping[str, Any]:
        return self._root.get("securityDefinitions") or self._root.get("components", {}).get("securitySchemes") or {}

    def _key_names(self, operation: Mapping[str, Any], where: str) -> set[str]:
        schemes = [self._deref(scheme) for scheme in self._schemes().values()]
        return {scheme["name"] for scheme in schemes if scheme.get("type") == "apiKey" and scheme["in"] == where}

    def _has(self, name: str, request: Request) -> bool:
        scheme = self._deref(self._schemes()[name])
        sent = request.headers.get("authorization", "")
        kind = (scheme.get("type"), str(scheme.get("scheme", "")).lower())
        if kind[0] == "basic" or kind == ("http", "basic"):
            return sent == f"Basic {base64.b64encode(CREDENTIAL.encode()).decode()}"
        if kind[0] == "apiKey":
            values = {"query": request.query_params, "header": request.headers, "cookie": request.cookies}[scheme["in"]]
            return unquote(values.get(scheme["name"], "")) == CREDENTIAL
        flows = {scheme.get("flow"), *scheme.get("flows", {})}
        return sent == f"Bearer {TOKEN if flows & {'clientCredentials', 'application'} else CREDENTIAL}"

    def _style(self, parameter: Mapping[str, Any]) -> tuple[str, bool]:
        if self._is_20:
            collection = parameter.get("collectionFormat", "csv")
            return ("form" if collection in ("csv", "multi") else collection), collection == "multi"
        style = parameter.get("style", "form" if parameter["in"] in ("query", "cookie") else "simple")
        return style, parameter.get("explode", style == "form")

    def _schema(self, parameter: Mapping[str, Any]) -> Any:
        if "content" in parameter:
            return next(iter(parameter["content"].values())).get("schema", {})
        if self._is_20:
            return {key: value for key, value in parameter.items() if key not in _OF_PARAMETER}
        return parameter.get("schema", {})

    def _types(self, schema: Any) -> list[str]:
        """The types that a value may have, those that text can be mistaken for last."""
        found: dict[str, None] = {}
        waiting = [schema]
        while waiting:
            node = self._deref(waiting.pop(0))
            if not isinstance(node, Mapping):
                continue
            kind = node.get("type", "object" if "properties" in node else None)
            found |= dict.fromkeys(kind if isinstance(kind, list) else [kind] if kind else [])
            for key in ("allOf", "oneOf", "anyOf"):
                waiting += node.get(key, [])
        order = ("integer", "number", "boolean", "array", "object", "string")
        return [kind for kind in order if kind in found] or ["string"]

    def _properties(self, schema: Any) -> dict[str, Any]:
        node = self._deref(schema)
        found = dict(node.get("properties", {}))
        for part in node.get("allOf", []):
            found |= self._properties(part)
        return found

    def _property_names(self, schema: Any) -> set[str]:
        return set(self._properties(schema))

    def _fault(self, schema: Any, value: Any) -> str | None:
        validator = OAS31Validator if self._is_31 else OAS30WriteValidator
        plain = {key: part for key, part in schema.items() if key != "-"} if isinstance(schema, Mapping) else schema
        checker: Any = validator(plain, registry=self._registry)
        error = next(iter(checker.iter_errors(value)), None)
        return None if error is None else str(error.message)[:300]

    def _deref(self, node: Any) -> Any:
        while isinstance(node, Mapping) and isinstance(node.get("$ref"), str):
            pointer = node["$ref"].removeprefix(f"{_ROOT}#")
            node = self._root
            for token in pointer.split("/")[1:]:
                token = unquote(token).replace("~1", "/").replace("~0", "~")
                node = node[int(token)] if isinstance(node, list) else node[token]
        return node if node is not None else {}


def _absolute(node: Any) -> Any:
    """Local references made absolute, so that they mean the same wherever the schema stands."""
    if isinstance(node, Mapping):
        return {
            key: f"{_ROOT}{part}"
            if key == "$ref" and isinstance(part, str) and part.startswith("#")
            else _absolute(part)
            for key, part in node.items()
        }
    return [_absolute(part) for part in node] if isinstance(node, list) else node


def _without_prefix(raw: str, name: str, style: str) -> str:
    if style == "label":
        return raw.removeprefix(".")
    return raw.removeprefix(f";{name}=").removeprefix(";") if style == "matrix" else raw


def _scalar(kind: str, text: str) -> Any:
    match kind:
        case "integer":
            return int(text)
        case "number":
            return float(text) if "." in text or "e" in text.lower() else int(text)
        case "boolean":
            return {"true": True, "false": False}[text]
        case "object" | "array":
            return json.loads(text)
        case _:
            return text
