"""Which credentials an operation takes, as names of secrets."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

from tools.importers.http import HEADER_NAME, OURS
from tools.importers.openapi.document import Dialect, Document, Unusable, pointer_to
from tools.spec import ApiKeyAuth, Auth, BasicAuth, BearerAuth, ClientCredentialsAuth, SecretName

_APPLICATION = {"clientCredentials", "application"}
"""The flow in which the client itself is the one who is let in, in OpenAPI 3 and in Swagger 2.0."""


def security_schemes(document: Document) -> tuple[Mapping[str, Any], str]:
    """The schemes by name, and their pointer."""
    if document.dialect is Dialect.SWAGGER_20:
        schemes, place = document.root.get("securityDefinitions"), "/securityDefinitions"
    else:
        components = document.root.get("components")
        schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
        place = "/components/securitySchemes"
    return (schemes if isinstance(schemes, Mapping) else {}), place


def credentials(
    document: Document, operation: Mapping[str, Any], place: str, secrets: Mapping[str, SecretName], base: str
) -> tuple[Auth, ...]:
    """What goes on each request: the first alternative whose secrets were all given; else none where that is allowed;
    else the first that we know how to use, under secrets named after its schemes.

    Where the description asks for nothing, schemes whose secrets were given count all the same: many descriptions
    define a key and forget to require it.

    Raises: Unusable: no alternative can be used.
    """
    schemes, _ = security_schemes(document)
    stated = operation.get("security", document.root.get("security"))
    at = pointer_to(place, "security") if "security" in operation else "/security"
    if stated is None:
        return tuple(_auth(document, name, secrets, base, []) for name in schemes if name in secrets)
    if not isinstance(stated, list) or not all(isinstance(part, Mapping) for part in stated):
        raise Unusable("must be a list of objects", at)
    given = [part for part in stated if part and part.keys() <= secrets.keys()]
    if not given and (not stated or {} in stated):
        return ()
    fault: Unusable | None = None
    for alternative in given or stated:
        try:
            return tuple(_auth(document, name, secrets, base, scopes) for name, scopes in alternative.items())
        except Unusable as e:
            fault = fault or e
    assert fault is not None  # a list without a usable part has one that failed
    raise fault


def secret_name(scheme: str) -> SecretName:
    """How a secret is called that nobody named."""
    name = re.sub(r"[^A-Z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", scheme).upper()).strip("_")
    return (name if name[:1].isalpha() else f"KEY_{name}")[:64].rstrip("_")


def _auth(document: Document, name: str, secrets: Mapping[str, SecretName], base: str, scopes: Any) -> Auth:
    schemes, at = security_schemes(document)
    if name not in schemes:
        raise Unusable(f"the security scheme {name!r} is not defined", at)
    scheme, place = document.follow(schemes[name], pointer_to(at, name))
    secret = secrets.get(name, secret_name(name))
    match scheme.get("type"), str(scheme.get("scheme", "")).lower():
        case "apiKey", _:
            return _api_key(scheme, place, secret)
        case ("basic", _) | ("http", "basic"):
            return BasicAuth(secret=secret)
        case ("openIdConnect", _) | ("http", "bearer"):
            return BearerAuth(secret=secret)
        case "oauth2", _:
            return _oauth2(document, scheme, place, secret, base, scopes)
        case kind, how:
            raise Unusable(f"the security scheme {name!r} ({kind} {how}".rstrip() + ") is not supported", place)


def _api_key(scheme: Mapping[str, Any], place: str, secret: SecretName) -> ApiKeyAuth:
    where, name = scheme.get("in"), scheme.get("name")
    if where not in ("header", "query", "cookie") or not isinstance(name, str) or not name:
        raise Unusable("an API key needs a name and a place: header, query or cookie", place)
    if where == "header" and (not HEADER_NAME.fullmatch(name) or name.lower() in OURS):
        raise Unusable(f"{name!r} is no header for a key", pointer_to(place, "name"))
    return ApiKeyAuth(place=where, name=name, secret=secret)


def _oauth2(
    document: Document, scheme: Mapping[str, Any], place: str, secret: SecretName, base: str, scopes: Any
) -> Auth:
    """Client credentials where the service offers them; else a token that the developer obtained, as a bearer."""
    flows = scheme.get("flows")
    flow = scheme if scheme.get("flow") in _APPLICATION else None
    if isinstance(flows, Mapping):
        flow = next((flows[name] for name in _APPLICATION if isinstance(flows.get(name), Mapping)), None)
    if flow is None:
        return BearerAuth(secret=secret)
    url = flow.get("tokenUrl")
    absolute = urljoin(document.url or f"{base}/", url) if isinstance(url, str) else ""
    if not re.match(r"https?://[^/\s]+", absolute):
        raise Unusable(f"tokenUrl: {url!r} is no HTTP address", place)
    wanted = tuple(part for part in scopes if isinstance(part, str)) if isinstance(scopes, list) else ()
    return ClientCredentialsAuth(token_url=absolute, scopes=wanted, secret=secret)
