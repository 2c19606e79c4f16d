"""Ways to talk a server into calling its own network, as a table.

Sources: OWASP's SSRF prevention cheat sheet, PayloadsAllTheThings, "A New Era of SSRF" (Tsai, 2017), the IANA
special-purpose registries, and the clouds' documents on their metadata services.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote


@dataclass(frozen=True)
class Vector:
    name: str
    url: str
    """`PORT` stands for the canary's port, `START` for a server that may be called and redirects as it is told."""
    answers: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """What the name server says of a host, look-up by look-up; the last answer stays."""
    reaches: bool = False
    """A client without guard ends at the canary."""
    passes_registration: bool = False
    """What is wrong shows at the call alone."""


def _direct(*hosts: str, reaches: bool = False) -> list[Vector]:
    return [Vector(host, f"http://{host}:PORT/x", reaches=reaches) for host in hosts]


def _named(name: str, *answers: Sequence[str]) -> Vector:
    return Vector(f"{name} at {answers[0][0]}", f"http://{name}:PORT/x", {name.lower().rstrip("."): answers})


def _redirected(location: str, status: int = 302, *, reaches: bool = True) -> Vector:
    url = f"http://START/to?status={status}&location={quote(location, safe='')}"
    return Vector(f"{status} to {location}", url, reaches=reaches, passes_registration=True)


LOOPBACK = [
    *_direct("127.0.0.1", "127.0.0.2", "127.255.255.254", "localhost", "LOCALHOST", "0.0.0.0", reaches=True),
    *_direct("127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0X7F.1", "0177.1", reaches=True),
    *_direct("017700000001", "0000177.1", "0", "0x0", "127。0。0。1", "user:password@127.0.0.1", reaches=True),
    *_direct("public.example@127.0.0.1", "public.example\\@127.0.0.1", "1.1.1.1 &@127.0.0.1", reaches=True),
    *_direct("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", reaches=True),
    *_direct("[0:0:0:0:0:ffff:127.0.0.1]", reaches=True),
    *_direct(
        "0177.0.0.1",
        "0000177.0.0.01",
        "localhost.",
        "localhost..",
        "127.0.0.1.",
        "①②⑦.⓪.⓪.①",
        "loc%61lhost",
        "127.0.0.1%00.public.example",
    ),
    *_direct("127.0.0.1\t", "[::1%25lo]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]"),
    *_direct("[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
    *_direct("[2606:4700::5efe:7f00:1]", "[2606:4700::200:5efe:127.0.0.1]"),
    Vector("no slashes", "http:127.0.0.1:PORT/x"),
    Vector("three slashes", "http:///127.0.0.1:PORT/x"),
    Vector("backslashes", "http:\\\\127.0.0.1:PORT\\x"),
]
METADATA = [
    *_direct("169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"),
    *_direct("[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]"),
    *_direct("[fd00:ec2::254]", "[fd20:ce::254]", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    _named("metadata.google.internal", ["169.254.169.254"]),
    _named("aws.example", ["fd00:ec2::254"]),
]
OTHER_RANGES = _direct(
    *("10.0.0.1", "172.16.0.1", "172.31.255.254", "192.168.0.1", "100.64.0.1", "100.127.255.254", "169.254.1.1"),
    *("0.1.2.3", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7", "203.0.113.9"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "[fc00::1]", "[fdff::1]", "[fe80::1]"),
    *("[fe80::1%25lo]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[3fff::1]", "[100::1]", "[5f00::1]"),
    *("[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:c0a8:1::1]", "[::ffff:0:127.0.0.1]"),
)
NAMES = [
    _named("inside.example", ["127.0.0.1"]),
    _named("INSIDE.Example.", ["127.0.0.1"]),
    _named("six.example", ["::1"]),
    _named("mapped.example", ["::ffff:127.0.0.1"]),
    _named("private.example", ["10.1.2.3"]),
    _named("two.example", ["10.1.2.3", "127.0.0.1"]),
    _named("zone.example", ["fe80::1%1"]),
    _named("127.0.0.1.wildcard.example", ["127.0.0.1"]),
    _named("under_score", ["127.0.0.1"]),
    _named("xn--bcher-kva.example", ["127.0.0.1"]),
    Vector(
        "rebinding between registration and call",
        "http://rebind.example:PORT/x",
        {"rebind.example": (["93.184.215.14"], ["127.0.0.1"])},
        passes_registration=True,
    ),
    Vector(
        "rebinding from a name that is not there yet",
        "http://later.example:PORT/x",
        {"later.example": ([], ["::1"])},
        passes_registration=True,
    ),
    Vector("a name before the fragment", "http://nowhere.example#@127.0.0.1:PORT/", passes_registration=True),
]
SCHEMES = [
    Vector(scheme, f"{scheme}://127.0.0.1:PORT/_x")
    for scheme in ("gopher", "ftp", "dict", "ldap", "tftp", "ws", "wss", "http+unix", "jar:http", "netdoc", "sftp")
] + [
    Vector("file", "file:///etc/hostname"),
    Vector("no scheme", "//127.0.0.1:PORT/x"),
    Vector("https", "https://127.0.0.1:PORT/x", reaches=True),
    Vector("upper case", "HTTP://127.0.0.1:PORT/x", reaches=True),
]
REDIRECTS = [
    *(_redirected("http://127.0.0.1:PORT/x", status) for status in (301, 302, 303, 307, 308)),
    *(_redirected(f"http://{host}:PORT/x") for host in ("localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433")),
    _redirected("//127.0.0.1:PORT/x"),
    _redirected("http://a:b@127.0.0.1:PORT/x"),
    _redirected("https://127.0.0.1:PORT/x"),
    _redirected("http://START/to?status=302&location=http%3A%2F%2F127.0.0.1%3APORT%2Fx"),
    _redirected("http://169.254.169.254/latest/meta-data/", reaches=False),
    _redirected("http://[fd00:ec2::254]/latest/meta-data/", reaches=False),
    _redirected("gopher://127.0.0.1:PORT/_x", reaches=False),
    _redirected("file:///etc/hostname", reaches=False),
    _redirected("\\\\127.0.0.1:PORT/x", reaches=False),
    _redirected("http://127.0.0.1:PORT/x", 300, reaches=False),
    _redirected("http://127.0.0.1:PORT/x", 201, reaches=False),
    Vector("refresh header", "http://START/refresh?to=http://127.0.0.1:PORT/x", passes_registration=True),
    Vector(
        "OAuth metadata",
        "http://START/unauthorized?metadata=http://127.0.0.1:PORT/.well-known/oauth-protected-resource",
        passes_registration=True,
    ),
]
VECTORS = [*LOOPBACK, *METADATA, *OTHER_RANGES, *NAMES, *SCHEMES, *REDIRECTS]
