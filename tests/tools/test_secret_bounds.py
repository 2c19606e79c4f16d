"""Where a secret may be sent: what is read, what is covered, and what its keeper is told. Pure."""

import pytest

from tools.destinations import AllowList
from tools.secret_bounds import MAX_ENTRIES, Bounds, Use, host_entry

NOTHING = AllowList()


def fault(host: str, url: str, *, allowed: AllowList = NOTHING, tools: tuple[str, ...] = ()) -> str | None:
    return Bounds.parse([host], tools).fault(Use("PETS", url, "find_pet"), allowed)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("api.example.com", "https://api.example.com/x?y=1"),
        ("api.example.com", "https://API.Example.com.:443/"),
        ("API.example.com.", "https://api.example.com/{id}"),
        ("api.example.com:8443", "https://api.example.com:8443/"),
        ("api.example.com:443", "https://api.example.com/"),
        ("*.example.com", "https://a.b.example.com/"),
        ("*.example.com:8443", "https://api.example.com:8443/"),
        ("münchen.example", "https://xn--mnchen-3ya.example/"),
        ("93.184.215.14", "https://93.184.215.14/"),
        ("api.example.com", "https://evil.example\\@api.example.com/"),  # as the client that calls it reads it
        ("[2606:4700::1]:8443", "https://[2606:4700:0::1]:8443/"),
        ("stdio:npx", "stdio:npx"),
    ],
)
def test_a_secret_goes_to_the_hosts_that_were_named(host: str, url: str) -> None:
    assert fault(host, url) is None


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("api.example.com", "https://evil.example/"),
        ("api.example.com", "https://api.example.com:8443/"),
        ("api.example.com:8443", "https://api.example.com/"),
        ("api.example.com", "https://api.example.com@evil.example/"),
        ("api.example.com", "https://evil.example/api.example.com"),
        ("api.example.com", "https://evil.example#@api.example.com/"),
        ("api.example.com", "https://api.example.com.evil.example/"),
        ("api.example.com", "https://x.api.example.com/"),
        ("*.example.com", "https://example.com/"),
        ("*.example.com", "https://evilexample.com/"),
        ("127.0.0.1", "https://2130706433/"),
        ("api.example.com", "https://{host}/"),
        ("api.example.com", "ftp://api.example.com/"),
        ("api.example.com", "stdio:api.example.com"),
        ("stdio:npx", "https://npx/"),
        ("stdio:npx", "stdio:npx2"),
    ],
)
def test_a_secret_goes_nowhere_else(host: str, url: str) -> None:
    assert fault(host, url) is not None


def test_the_keeper_is_told_host_and_remedy() -> None:
    told = fault("api.example.com", "https://evil.example:444/x")
    assert told is not None
    assert "it may go to api.example.com, not to evil.example:444" in told
    assert told.endswith("hone secrets bind PETS --host api.example.com --host evil.example:444")
    of_environment = Bounds.parse([], variable="HONE_HOSTS_PETS").fault(Use("PETS", "https://a.example", None), NOTHING)
    assert of_environment is not None
    assert "no host was named for it" in of_environment
    assert of_environment.endswith("HONE_HOSTS_PETS=a.example")


def test_over_http_it_goes_only_where_the_operator_names_the_host() -> None:
    told = fault("intranet.example", "http://intranet.example/")
    assert told is not None
    assert "HONE_ALLOWED_NETWORKS: intranet.example:80" in told
    for entry in ("intranet.example", "intranet.example:80"):
        assert fault("intranet.example", "http://intranet.example/", allowed=AllowList.parse([entry])) is None
    assert fault("10.1.2.3:81", "http://10.1.2.3:81/", allowed=AllowList.parse(["10.1.0.0/16"])) is None
    for entry in ("intranet.example:81", "10.0.0.0/8"):
        assert fault("intranet.example", "http://intranet.example/", allowed=AllowList.parse([entry])) is not None


def test_it_may_be_kept_for_some_tools() -> None:
    url = "https://api.example.com/"
    assert fault("api.example.com", url, tools=("find_*",)) is None
    told = fault("api.example.com", url, tools=("adopt_pet",))
    assert told is not None
    assert "it is kept for the tools adopt_pet, not for find_pet" in told
    assert told.endswith("hone secrets bind PETS --host api.example.com --tool adopt_pet --tool find_pet")


NO_HOSTS = (
    "* *.com https://a.example a.example/x a.example:0 a.example:99999 user@a.example 0x7f.1 stdio: a.*.example [::1"
)


@pytest.mark.parametrize("entry", ["", "a b", "a.example,b.example", *NO_HOSTS.split()])
def test_what_is_no_host_is_refused_with_how_to_write_it(entry: str) -> None:
    with pytest.raises(ValueError, match=r"write api\.example\.com|name a domain of your own"):
        Bounds.parse([entry])


def test_tools_are_names_and_there_is_an_end_to_the_list() -> None:
    with pytest.raises(ValueError, match="'a b' is no name of a tool"):
        Bounds.parse(["a.example"], ["a b"])
    with pytest.raises(ValueError, match="more than 64"):
        Bounds.parse([f"h{n}.example" for n in range(MAX_ENTRIES + 1)])


@pytest.mark.parametrize(
    ("url", "entry"),
    [
        ("https://a.example/x", "a.example"),
        ("http://a.example:80/x", "a.example"),
        ("http://127.0.0.1:9000/", "127.0.0.1:9000"),
        ("https://[::1]:9000/", "[::1]:9000"),
        ("stdio:npx", "stdio:npx"),
    ],
)
def test_a_url_is_told_as_the_entry_that_covers_it(url: str, entry: str) -> None:
    assert host_entry(url) == entry
    allowed = AllowList.parse(["a.example", "127.0.0.0/8"])
    assert Bounds.parse([entry]).fault(Use("PETS", url, None), allowed) is None
