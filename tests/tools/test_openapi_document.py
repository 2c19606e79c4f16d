"""Descriptions that can be read, and the one clear error for those that cannot."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, StreamingResponse

from tests.tools.serving import free_port, serving, to_this_machine
from tools.errors import ImportFailed
from tools.importers.openapi import fetch_description, load_document, read_document
from tools.importers.openapi.document import MAX_BYTES, Dialect, Unusable

HEAD = 'openapi: 3.0.0\ninfo: {title: x, version: "1"}\n'


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        (HEAD + "paths: {}\n", Dialect.OPENAPI_30),
        ('\ufeff{"openapi": "3.1.1", "paths": {}}', Dialect.OPENAPI_31),
        ("openapi: 3.2.0\npaths: {}", Dialect.OPENAPI_31),
        ("openapi: 3.0\npaths: {}", Dialect.OPENAPI_30),
        ("swagger: 2.0\npaths: {}", Dialect.SWAGGER_20),
    ],
)
def test_the_version_is_told_in_json_and_yaml(text: str, dialect: Dialect) -> None:
    assert read_document(text, source="x").dialect is dialect


def test_yaml_is_read_as_yaml_1_2_so_that_no_and_dates_are_text() -> None:
    text = HEAD + "paths: {}\nx: {a: no, b: 2026-05-01, c: 12:30:45, d: true, e: 0o17, f: 1e3, 200: y, g: ~}\n"
    read = read_document(text, source="x").root["x"]
    assert read == {
        "a": "no",
        "b": "2026-05-01",
        "c": "12:30:45",
        "d": True,
        "e": "0o17",
        "f": 1000.0,
        "200": "y",
        "g": None,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "an object, not null"),
        ("just words", "an object, not text"),
        ("[1]", "an object, not a list"),
        ('{"openapi": "3.0.0",\n "paths": }', "line 2, column 11: not JSON"),
        (HEAD + "paths:\n  /a: [\n", r"line 5, column 1: not YAML"),
        (HEAD + "paths: \x07\n", "not YAML: unacceptable character"),
        ("<!DOCTYPE html><html></html>", "a page in HTML"),
        ("info: {}", "names no version"),
        ("openapi: 4.0.0", "version '4.0.0' is not known"),
        ("swagger: '1.2'", "version '1.2' is not known"),
        ("openapi: 3.0.0\npaths: [1]", "/paths: must be an object, not a list"),
        ('{"a":' * 100_000, "not JSON|nested too deeply"),
        ("[" * 100_000, "not JSON|nested too deeply"),
        ("a: " + "[" * 100_000, "not YAML|nested too deeply"),
        (HEAD + "x: &a [*a]\n", "without end"),
        (
            HEAD + "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)),
            "aliases unfold to more than",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_error_that_names_the_place(text: str, told: str) -> None:
    with pytest.raises(ImportFailed, match=told) as caught:
        read_document(text, source="pets.yaml")
    assert str(caught.value).startswith("pets.yaml: ")


def test_a_file_that_is_missing_too_large_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match=r"none\.yaml: cannot be read: No such file"):
        load_document(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"openapi: 3.0.0\ntitle: caf\xe9\n")
    with pytest.raises(ImportFailed, match="line 2: not UTF-8"):
        load_document(tmp_path / "latin.yaml")
    with (tmp_path / "large.yaml").open("wb") as large:
        large.truncate(MAX_BYTES + 1)
    with pytest.raises(ImportFailed, match="larger than 16,000,000 bytes"):
        load_document(tmp_path / "large.yaml")


def test_references_are_followed_and_those_that_lead_nowhere_are_named() -> None:
    text = """{"openapi": "3.0.0", "a/b": [{"c": 1}], "loop": {"$ref": "#/loop"}, "next": {"$ref": "#/a~1b/0"}}"""
    document = read_document(text, source="x")
    assert document.follow({"$ref": "#/next"}, "/y") == ({"c": 1}, "/a~1b/0")
    for reference, told in (
        ("#/nowhere", "leads nowhere: there is no 'nowhere'"),
        ("#/a~1b/1", "there is no '1'"),
        ("other.yaml#/x", "points outside the description"),
        ("#anchor", "no JSON pointer"),
        ("#/loop", "without end"),
        (7, "must be a string"),
    ):
        with pytest.raises(Unusable, match=told):
            document.follow({"$ref": reference}, "/y")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    app = FastAPI(openapi_url=None)

    @app.get("/spec.yaml")
    @app.get("/v2/spec.yaml")
    async def yaml() -> PlainTextResponse:
        return PlainTextResponse(HEAD + "paths: {}\n")

    @app.get("/moved")
    async def moved() -> RedirectResponse:
        return RedirectResponse("/v2/spec.yaml?key=s3cret")

    @app.get("/page")
    async def page() -> HTMLResponse:
        return HTMLResponse("<html>log in</html>")

    @app.get("/endless")
    async def endless(request: Request) -> StreamingResponse:
        async def pieces():
            while not await request.is_disconnected():
                yield b"# more\n" * 100_000
                await asyncio.sleep(0.001)

        return StreamingResponse(pieces())

    with serving(app) as url:
        yield url


async def test_a_description_is_fetched_from_its_address(site: str) -> None:
    document = await fetch_description(to_this_machine(), f"{site}/spec.yaml?key=s3cret")
    assert (document.source, document.url) == (f"{site}/spec.yaml", f"{site}/spec.yaml?key=s3cret")


async def test_after_a_redirect_relative_servers_belong_to_where_it_ended(site: str) -> None:
    document = await fetch_description(to_this_machine(), f"{site}/moved")
    assert (document.source, document.url) == (f"{site}/moved", f"{site}/v2/spec.yaml?key=s3cret")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/page", "a page in HTML"),
        ("/endless", "larger than the limit of 16,000,000 bytes"),
        ("/none?key=s3cret", "answered 404"),
    ],
)
async def test_an_address_that_gives_none_is_named_without_its_query(site: str, path: str, told: str) -> None:
    with pytest.raises(ImportFailed, match=told) as caught:
        await fetch_description(to_this_machine(), site + path)
    assert "s3cret" not in str(caught.value)


async def test_a_server_that_is_down_is_one_error() -> None:
    with pytest.raises(ImportFailed, match=r"http://127\.0\.0\.1:\d+/spec\.yaml cannot be read"):
        await fetch_description(to_this_machine(), f"http://127.0.0.1:{free_port()}/spec.yaml")
