"""Which addresses a tool may call: the public internet, and what the operator's allow-list names beside it.

Pure: nothing is looked up here. `tools.transport` asks about each address that it is about to connect to.

The ranges are those of the IANA special-purpose registries (RFC 6890 and its updates), written out, since what Python's
`ipaddress` calls global changed between patch releases and includes multicast; and the addresses at which clouds serve
credentials to whoever asks. An IPv6 address that carries an IPv4 one (mapped, 6to4, NAT64, ISATAP) is judged by that.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network


class Kind(StrEnum):
    """What an address that is not public is for."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    CARRIER_NAT = "carrier NAT"
    LINK_LOCAL = "link-local"
    METADATA = "cloud metadata"
    """Serves credentials: opened by nothing but an entry for that very address."""
    MULTICAST = "multicast"
    RESERVED = "reserved"


_SPECIAL: tuple[tuple[IPNetwork, Kind], ...] = tuple(
    (ip_network(network), kind)
    for kind, networks in (
        # AWS and most others, its containers, AWS over IPv6, Google over IPv6, Alibaba, Oracle, Azure
        (Kind.METADATA, "169.254.169.254 169.254.170.2 fd00:ec2::254 fd00:ec2::23 fd20:ce::254"),
        (Kind.METADATA, "100.100.100.200 192.0.0.192 168.63.129.16"),
        (Kind.LOOPBACK, "127.0.0.0/8 ::1"),
        (Kind.PRIVATE, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10"),
        (Kind.CARRIER_NAT, "100.64.0.0/10"),
        (Kind.LINK_LOCAL, "169.254.0.0/16 fe80::/10"),
        (Kind.MULTICAST, "224.0.0.0/4 ff00::/8"),
        (Kind.RESERVED, "0.0.0.0/8 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24"),
        (Kind.RESERVED, "203.0.113.0/24 240.0.0.0/4 2001::/23 2001:db8::/32 3fff::/20"),
    )
    for network in networks.split()
)
"""The first that holds the address counts."""
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that has been given out of IPv6 (RFC 4291); whatever lies outside has some other meaning or none."""
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
OPENED_BY_NAME = frozenset({Kind.LOOPBACK, Kind.PRIVATE, Kind.CARRIER_NAT})

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_NAME_CHARS = 253
_PORT = re.compile(r"(?P<host>\[.*\]|[^:]*):(?P<port>[0-9]{1,5})")


def kind_of(address: IPAddress) -> Kind | None:
    """None: a public address, which any tool may call."""
    if isinstance(address, IPv6Address):
        carried = _carried(address)
        if carried is not None:
            return kind_of(carried)
    for network, kind in _SPECIAL:
        if address.version == network.version and address in network:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return Kind.RESERVED
    return None


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which a packet for this one goes on.

    Teredo and IPv4-compatible addresses carry one too; they are reserved as a whole.
    """
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _NAT64 or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return low
    return address.ipv4_mapped or address.sixtofour


def read_address(text: str) -> IPAddress:
    """An address as it is connected to: an IPv4 one in IPv6 writing is that IPv4 one.

    Raises: ValueError: it is none, or one with a zone.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text!r} names a network interface; leave out what follows %")
        return address.ipv4_mapped or address
    return address


def read_host(host: str) -> IPAddress | str:
    """The host of a URL: an address, or a name in lower case without the dot that may end it.

    Numbers that C libraries also take for addresses (0x7f.1, 2130706433, 0177.0.0.1) are neither.

    Raises: ValueError: it is neither; the message says how to write it.
    """
    bare = host.lower().removesuffix(".")
    if ":" in bare:
        return read_address(bare)
    labels = bare.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(bare)
        except ValueError as e:
            raise ValueError(f"{host!r} is no plain address; write four decimal numbers, such as 192.0.2.1") from e
    if len(bare) > _MAX_NAME_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{host!r} is no host name; write it as letters, digits and hyphens between dots")
    return bare


@dataclass(frozen=True, slots=True)
class Permit:
    """One entry of the allow-list."""

    target: IPNetwork | str
    """A network, or a host name in lower case."""
    port: int | None
    """None: every port."""

    @classmethod
    def parse(cls, entry: str) -> Self:
        """Raises: ValueError: naming the entry and how to write it."""
        text = entry.strip().lower()
        ported = _PORT.fullmatch(text)
        target = (ported["host"] if ported else text).removeprefix("[").removesuffix("]")
        port = int(ported["port"]) if ported else None
        try:
            if port is not None and not 0 < port < 65_536:
                raise ValueError(f"{port} is no port")
            return cls(_read_target(target), port)
        except ValueError as e:
            raise ValueError(
                f"{entry!r}: {e}; write a host, an address or a network, each with or without a port "
                "(intranet.example, 10.1.0.0/16, 127.0.0.1:9000, [fd12::1]:9000)"
            ) from e

    def covers(self, name: str | None, address: IPAddress, kind: Kind | None, port: int) -> bool:
        """
        Args:
            name: by which the URL speaks of the address; None: by the address itself.
        """
        if self.port not in (None, port):
            return False
        if isinstance(self.target, str):
            return self.target == name and (kind is None or kind in OPENED_BY_NAME)
        if self.target.version != address.version or address not in self.target:
            return False
        return kind is not Kind.METADATA or self.target.num_addresses == 1

    def names(self, host: str, port: int) -> bool:
        """Whether the entry speaks of `host` itself, as it is written in a URL; what it leads to is not asked."""
        if self.port not in (None, port):
            return False
        target = read_host(host)
        if isinstance(self.target, str) or isinstance(target, str):
            return self.target == target
        return self.target.version == target.version and target in self.target


def _read_target(text: str) -> IPNetwork | str:
    if "/" in text:
        return ip_network(text)
    host = read_host(text)
    return host if isinstance(host, str) else ip_network(host)


@dataclass(frozen=True, slots=True)
class AllowList:
    """What tools may call beside the public internet.

    A network opens the addresses in it, by whatever name they go. A name opens loopback, private and carrier-NAT
    addresses behind it, but no link-local, multicast or reserved one, which nobody names in good faith.
    """

    permits: tuple[Permit, ...] = ()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Raises: ValueError: naming the entry."""
        return cls(tuple(Permit.parse(entry) for entry in entries))

    def covers(self, name: str | None, address: IPAddress, kind: Kind | None, port: int) -> bool:
        return any(permit.covers(name, address, kind, port) for permit in self.permits)

    def names(self, host: str, port: int) -> bool:
        """Whether an entry speaks of `host` itself."""
        return any(permit.names(host, port) for permit in self.permits)


LOOPBACK = AllowList.parse(("127.0.0.0/8", "::1"))
"""This machine, on every port."""
