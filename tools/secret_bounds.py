"""Where a secret may be sent: the hosts that whoever keeps it named, and, if they named any, the tools.

Pure. A host stands for what it stands for in a URL: `api.example.com` is port 443, `api.example.com:8443` that port,
`*.example.com` every name below example.com. `stdio:COMMAND` is the environment of the MCP servers that are started by
that command. A secret goes over https; over http only to a host that the operator's allow-list names
(`tools.destinations`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Self

import httpx2

from tools.destinations import AllowList, read_host
from tools.transport import port_of, public_form

STDIO = "stdio:"
MAX_ENTRIES = 64
_HOST = re.compile(r"(?P<wild>\*\.)?(?P<host>\[[0-9a-fA-F:.]+\]|[^:/?#@\s\[\]*]+)(?P<port>:[0-9]{1,5})?")
_TOOL = re.compile(r"[a-zA-Z0-9_*?-]{1,64}")
_HOW = "write api.example.com, api.example.com:8443, *.example.com, or stdio:COMMAND for an MCP server started by it"
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Use:
    """One secret on its way to one place."""

    secret: str
    to: str
    """The URL that is about to be called, or `stdio:COMMAND`."""
    tool: str | None
    """Name of the tool whose call it is; None: a connection that several tools share."""


@dataclass(frozen=True, slots=True)
class Bounds:
    hosts: tuple[str, ...] = ()
    """Empty: it goes nowhere."""
    tools: tuple[str, ...] = ()
    """Names, also with `*` and `?`; empty: any tool that calls those hosts."""
    variable: str | None = None
    """The variable that the operator writes the hosts in; None: they are stored."""

    @classmethod
    def parse(cls, hosts: Iterable[str], tools: Iterable[str] = (), *, variable: str | None = None) -> Self:
        """Raises: ValueError: naming the entry and how to write it."""
        read = tuple(dict.fromkeys(_read(entry) for entry in hosts))
        names = tuple(dict.fromkeys(name.strip() for name in tools))
        for name in names:
            if not _TOOL.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a tool; * and ? stand for any characters")
        if max(len(read), len(names)) > MAX_ENTRIES:
            raise ValueError(f"there are more than {MAX_ENTRIES} hosts or tools")
        return cls(read, names, variable)

    def fault(self, use: Use, allowed: AllowList) -> str | None:
        """Why the secret may not go there, and what its keeper can do about it; None: it may.

        Args:
            allowed: what the operator's allow-list names.
        """
        if use.tool is not None and self.tools and not any(fnmatchcase(use.tool, name) for name in self.tools):
            told = f"it is kept for the tools {', '.join(self.tools)}, not for {use.tool}"
            return f"{told}; whoever keeps it can change that: {self._remedy(use.secret, self.hosts, use.tool)}"
        if use.to.startswith(STDIO):
            return None if use.to in self.hosts else self._elsewhere(use.secret, use.to)
        place = _place(use.to)
        if place is None:
            return f"{public_form(use.to)} is no HTTP address"
        scheme, host, port = place
        if not any(_covers(entry, host, port, _DEFAULT_PORTS[scheme]) for entry in self.hosts):
            return self._elsewhere(use.secret, host_entry(use.to))
        if scheme != "https" and not allowed.names(host, port):
            return (
                f"{host} would get it over http, where others can read along; call it by https, or have the operator "
                f"name it in allowed_networks (HONE_ALLOWED_NETWORKS: {_written(host)}:{port})"
            )
        return None

    def _elsewhere(self, secret: str, asked: str) -> str:
        told = f"it may go to {', '.join(self.hosts)}, not to {asked}" if self.hosts else "no host was named for it"
        return f"{told}; whoever keeps it can allow that: {self._remedy(secret, (*self.hosts, asked))}"

    def _remedy(self, secret: str, hosts: Sequence[str], tool: str | None = None) -> str:
        if self.variable is not None:
            return f"{self.variable}={','.join(hosts)}"
        names = [*self.tools, *([tool] if tool is not None else [])]
        options = [*(f"--host {host}" for host in hosts), *(f"--tool {name}" for name in names)]
        return f"hone secrets bind {secret} {' '.join(options)}"


def host_entry(url: str) -> str:
    """The host of a URL as an entry, to be told in a remedy."""
    place = _place(url)
    if place is None:
        return url if url.startswith(STDIO) else "HOST"
    scheme, host, port = place
    return _written(host) if port == _DEFAULT_PORTS[scheme] else f"{_written(host)}:{port}"


def _place(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port as the client that calls it reads them."""
    try:
        parsed = httpx2.URL(url)
        host = read_host(parsed.raw_host.decode("ascii"))
    except (httpx2.InvalidURL, ValueError):
        return None
    return (parsed.scheme, str(host), port_of(parsed)) if parsed.scheme in _DEFAULT_PORTS else None


def _covers(entry: str, host: str, port: int, default_port: int) -> bool:
    read = _HOST.fullmatch(entry)
    if read is None:  # stdio:
        return False
    if port != (int(read["port"][1:]) if read["port"] else default_port):
        return False
    named = read["host"].strip("[]")
    return host.endswith(f".{named}") if read["wild"] else host == named


def _read(entry: str) -> str:
    """An entry in the one form that is compared. Raises: ValueError."""
    text = entry.strip()
    if text.startswith(STDIO):
        if len(text) == len(STDIO) or not text.isprintable():
            raise ValueError(f"{entry!r} names no command; {_HOW}")
        return text
    read = _HOST.fullmatch(text)
    if read is None:
        raise ValueError(f"{entry!r} is no host; {_HOW}")
    port = int(read["port"][1:]) if read["port"] else None
    if port is not None and not 0 < port < 65_536:
        raise ValueError(f"{entry!r}: {port} is no port; {_HOW}")
    try:
        raw = httpx2.URL(f"https://{read['host']}/").raw_host.decode("ascii")
        host = str(read_host(raw))
    except (httpx2.InvalidURL, ValueError) as e:
        raise ValueError(f"{entry!r}: {e}; {_HOW}") from e
    if read["wild"] and "." not in host:
        raise ValueError(f"{entry!r} would be half the internet; name a domain of your own, such as *.example.com")
    return f"{read['wild'] or ''}{_written(host)}{'' if port is None else f':{port}'}"


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
