"""The address that an operation is called at."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from tools.importers.openapi.document import Dialect, Document, Unusable, pointer_to

_VARIABLE = re.compile(r"\{([^{}]+)\}")


def base_url(document: Document, levels: list[tuple[Mapping[str, Any], str]]) -> str:
    """Without a slash at its end.

    Args:
        levels: what may name servers, nearest first: operation, path item, each with its pointer.

    Raises: Unusable: no server is named, or its address is none.
    """
    if document.dialect is Dialect.SWAGGER_20:
        address, place = _swagger(document), "/host"
    else:
        address, place = _first_server(document, levels)
    return checked(urljoin(document.url or "", address), place)


def checked(url: str, place: str) -> str:
    """Raises: Unusable: not an HTTP address."""
    bare = url.rstrip("/")
    try:
        parts = urlsplit(bare)
        _ = parts.port
    except ValueError as e:
        raise Unusable(f"{url!r} is no HTTP address: {e}", place) from e
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s{}?#]", bare):
        raise Unusable(f"{url!r} is no HTTP address to call; give --base-url (base_url)", place)
    return bare


def _first_server(document: Document, levels: list[tuple[Mapping[str, Any], str]]) -> tuple[str, str]:
    for node, at in [*levels, (document.root, "")]:
        servers = node.get("servers")
        if isinstance(servers, list) and servers:
            place = pointer_to(at, "servers", 0)
            server, place = document.follow(servers[0], place)
            url = server.get("url")
            if not isinstance(url, str):
                raise Unusable("a server without url", place)
            return _filled(url, server.get("variables"), place), place
    return "/", "/servers"


def _filled(url: str, variables: Any, place: str) -> str:
    def value(found: re.Match[str]) -> str:
        variable = variables.get(found.group(1)) if isinstance(variables, Mapping) else None
        default = variable.get("default") if isinstance(variable, Mapping) else None
        if default is None or isinstance(default, Mapping | list):
            raise Unusable(f"the server's variable {found.group(1)!r} has no default; give --base-url", place)
        return str(default)

    return _VARIABLE.sub(value, url)


def _swagger(document: Document) -> str:
    root = document.root
    host, base = root.get("host"), root.get("basePath")
    path = base if isinstance(base, str) else ""
    path = path if path.startswith("/") or not path else f"/{path}"
    if not isinstance(host, str):
        return path or "/"
    schemes = root.get("schemes")
    known = [scheme for scheme in schemes if scheme in ("https", "http")] if isinstance(schemes, list) else []
    fetched = urlsplit(document.url).scheme if document.url else "https"
    scheme = "https" if "https" in known else known[0] if known else fetched
    return f"{scheme}://{host}{path}"
