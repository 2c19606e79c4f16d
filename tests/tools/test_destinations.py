"""Which addresses are public, and what an allow-list opens."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.destinations import LOOPBACK, AllowList, Kind, kind_of, read_address, read_host


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.215.14", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "169.253.0.1", "223.255.255.1",
     "2606:4700:4700::1111", "2a00:1450:4001::1", "64:ff9b::101:101", "2002:101:101::1"],
)  # fmt: skip
def test_public_addresses_are_nothing_special(address: str) -> None:
    assert kind_of(ip_address(address)) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [("127.0.0.1", Kind.LOOPBACK), ("10.0.0.1", Kind.PRIVATE), ("100.64.0.1", Kind.CARRIER_NAT),
     ("169.254.1.1", Kind.LINK_LOCAL), ("169.254.169.254", Kind.METADATA), ("100.100.100.200", Kind.METADATA),
     ("168.63.129.16", Kind.METADATA), ("224.0.0.1", Kind.MULTICAST), ("0.0.0.0", Kind.RESERVED),
     ("::1", Kind.LOOPBACK), ("fd00::1", Kind.PRIVATE), ("fe80::1", Kind.LINK_LOCAL), ("ff02::1", Kind.MULTICAST),
     ("fd00:ec2::254", Kind.METADATA), ("::", Kind.RESERVED), ("64:ff9b::a9fe:a9fe", Kind.METADATA),
     ("2002:a00:1::", Kind.PRIVATE), ("::127.0.0.1", Kind.RESERVED), ("2606:4700::5efe:7f00:1", Kind.LOOPBACK)],
)  # fmt: skip
def test_each_range_is_told_for_what_it_is(address: str, kind: Kind) -> None:
    assert kind_of(ip_address(address)) is kind


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_judged_alike_in_every_ipv6_writing(number: int) -> None:
    plain = IPv4Address(number)
    assert kind_of(IPv6Address((0xFFFF << 32) | number)) == kind_of(plain)
    assert kind_of(IPv6Address((0x64FF9B << 96) | number)) == kind_of(plain)
    assert kind_of(IPv6Address((0x2002 << 112) | (number << 80))) == kind_of(plain)
    assert read_address(f"::ffff:{plain}") == plain


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_what_python_calls_not_global_is_never_public_here(address: IPv4Address | IPv6Address) -> None:
    if not address.is_global and not (isinstance(address, IPv6Address) and address.ipv4_mapped):
        assert kind_of(address) is not None


@pytest.mark.parametrize(
    ("host", "read"),
    [("Example.COM.", "example.com"), ("1.2.3.4", IPv4Address("1.2.3.4")), ("1.2.3.4.", IPv4Address("1.2.3.4")),
     ("::FFFF:1.2.3.4", IPv4Address("1.2.3.4")), ("2606:4700::1", IPv6Address("2606:4700::1")),
     ("my_db", "my_db"), ("3com.example", "3com.example"), ("0x7f.example", "0x7f.example")],
)  # fmt: skip
def test_a_host_is_an_address_or_a_name(host: str, read: object) -> None:
    assert read_host(host) == read


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "1.2.3.4.5", "example.0x1", "256.1.1.1", "fe80::1%eth0",
     "", ".", "a..b", "-a.example", "a-.example", "lo%63al", "a b", "a\x00", "x" * 64, "a." * 127 + "ab"],
)  # fmt: skip
def test_what_parsers_could_read_differently_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match=r"address|host name|interface|permitted"):
        read_host(host)


def covers(entries: list[str], host: str, address: str, port: int = 443) -> bool:
    target = read_host(host)
    read = read_address(address)
    return AllowList.parse(entries).covers(target if isinstance(target, str) else None, read, kind_of(read), port)


@pytest.mark.parametrize(
    ("entry", "host", "address", "port", "opened"),
    [
        ("10.1.0.0/16", "10.1.2.3", "10.1.2.3", 443, True),
        ("10.1.0.0/16", "10.2.2.3", "10.2.2.3", 443, False),
        ("10.1.0.0/16", "db.example", "10.1.2.3", 443, True),
        ("10.1.0.0/16", "10.1.2.3", "::ffff:10.1.2.3", 443, True),
        ("10.1.0.0/16:8080", "10.1.2.3", "10.1.2.3", 8080, True),
        ("10.1.0.0/16:8080", "10.1.2.3", "10.1.2.3", 443, False),
        ("127.0.0.1:9000", "localhost", "127.0.0.1", 9000, True),
        ("127.0.0.1:9000", "localhost", "127.0.0.2", 9000, False),
        ("[::1]:9000", "localhost", "::1", 9000, True),
        ("::1", "localhost", "::1", 1, True),
        ("[fd12::]/48", "fd12::1", "fd12::1", 1, None),
        ("[fd12::/48]:443", "fd12::1", "fd12::1", 443, True),
        ("Intranet.Example.", "INTRANET.example", "10.9.9.9", 443, True),
        ("intranet.example:443", "intranet.example", "10.9.9.9", 80, False),
        ("intranet.example", "other.example", "10.9.9.9", 443, False),
        ("intranet.example", "sub.intranet.example", "10.9.9.9", 443, False),
        ("intranet.example", "intranet.example", "127.0.0.1", 443, True),
        ("intranet.example", "intranet.example", "169.254.169.254", 443, False),
        ("intranet.example", "intranet.example", "169.254.7.7", 443, False),
        ("intranet.example", "intranet.example", "224.0.0.1", 443, False),
        ("169.254.0.0/16", "169.254.7.7", "169.254.7.7", 443, True),
        ("169.254.0.0/16", "169.254.169.254", "169.254.169.254", 443, False),
        ("0.0.0.0/0", "169.254.169.254", "169.254.169.254", 443, False),
        ("fc00::/7", "fd00:ec2::254", "fd00:ec2::254", 443, False),
        ("169.254.169.254", "169.254.169.254", "169.254.169.254", 443, True),
    ],
)  # fmt: skip
def test_an_entry_opens_what_it_names_and_no_more(
    entry: str, host: str, address: str, port: int, opened: bool | None
) -> None:
    if opened is None:
        with pytest.raises(ValueError, match="write a host"):
            AllowList.parse([entry])
    else:
        assert covers([entry], host, address, port) is opened


@pytest.mark.parametrize(
    "entry", ["", "*", "*.example", "10.0.0.1/8", "10.0.0.0/33", "http://x", "x:0", "x:99999", "x:y", "a b"]
)
def test_an_entry_that_cannot_be_read_is_named_with_the_remedy(entry: str) -> None:
    with pytest.raises(ValueError, match="write a host, an address or a network") as caught:
        AllowList.parse([entry])
    assert repr(entry) in str(caught.value)


def test_loopback_is_this_machine_only() -> None:
    for address, opened in (
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
    ):
        read = read_address(address)
        assert LOOPBACK.covers(None, read, kind_of(read), 1) is opened
