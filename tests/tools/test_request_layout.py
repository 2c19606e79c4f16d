import json
import re
from typing import Any

import pytest

from tools.outcome import CallFault
from tools.request_layout import LaidOut, lay_out, layout_problem
from tools.spec import CallStatus, HttpBackend, Place, Placement, RequestLayout, Style


def laid_out(arguments: dict[str, Any], *placements: Placement, url: str = "https://h/x", **layout: Any) -> LaidOut:
    backend = HttpBackend(url=url, layout=RequestLayout(placements=placements, **layout))
    assert backend.layout is not None
    return lay_out(backend, backend.layout, arguments, lambda name: f"value of {name}")


def at(place: Place, name: str = "a", **others: Any) -> Placement:
    return Placement(**{"place": place, "name": name, "argument": name, "style": Style.SIMPLE, **others})


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_a_value_that_would_change_the_address_is_refused(value: str) -> None:
    with pytest.raises(CallFault, match=r"a: a part of the address; it cannot be empty, '\.' or '\.\.'") as caught:
        laid_out({"a": value}, at(Place.PATH), url="https://h/files/{a}/meta")
    assert caught.value.status is CallStatus.BAD_ARGUMENTS


def test_a_value_cannot_leave_its_part_of_the_path() -> None:
    laid = laid_out({"a": "../../admin?x#y"}, at(Place.PATH), url="https://h/files/{a}")
    assert laid.url == "https://h/files/..%2F..%2Fadmin%3Fx%23y"


@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "ü", "a\x00"])
def test_a_value_that_a_header_cannot_carry_is_refused_by_name(value: str) -> None:
    with pytest.raises(CallFault, match="a: goes into a header"):
        laid_out({"a": value}, at(Place.HEADER))


def test_the_query_goes_beside_the_addresss_own() -> None:
    laid = laid_out({"a": "1 2"}, at(Place.QUERY, style=Style.FORM), url="https://h/x?action=go")
    assert laid.url == "https://h/x?action=go&a=1%202"


def test_fixed_values_and_secrets_are_sent_without_an_argument() -> None:
    fixed = at(Place.QUERY, "v", argument=None, fixed=2, style=Style.FORM)
    hidden = at(Place.HEADER, "x-token", argument=None, secret="TOKEN")
    laid = laid_out({}, fixed, hidden)
    assert laid.url == "https://h/x?v=2"
    assert laid.headers == {"x-token": "value of TOKEN"}


def test_null_is_left_out_of_a_query_and_kept_in_json() -> None:
    laid = laid_out({"a": None, "b": None}, at(Place.QUERY), at(Place.BODY, "b"), media_type="application/json")
    assert laid.url == "https://h/x"
    assert laid.content == b'{"b": null}'


def test_a_body_is_sent_only_if_it_has_a_part_or_is_required() -> None:
    part = at(Place.BODY)
    assert laid_out({}, part, media_type="application/json").content is None
    required = laid_out({}, part, media_type="application/json", body_required=True)
    assert (required.content, required.headers) == (b"{}", {"content-type": "application/json"})


def test_a_whole_body_goes_as_it_is() -> None:
    body = at(Place.WHOLE_BODY, "", argument="body")
    assert laid_out({"body": [1, None]}, body, media_type="application/json").content == b"[1, null]"
    assert laid_out({"body": "two\nlines"}, body, media_type="text/plain").content == b"two\nlines"
    form = laid_out({"body": {"a": [1, 2], "b": {"c": 1}}}, body, media_type="application/x-www-form-urlencoded")
    assert form.content == b"a=1&a=2&b=%7B%22c%22%3A%201%7D"


def test_a_multipart_field_cannot_break_out_of_its_part() -> None:
    laid = laid_out({'a"\r\nb': "x"}, at(Place.BODY, 'a"\r\nb'), media_type="multipart/form-data")
    assert laid.content is not None
    assert b'name="a%22%0D%0Ab"\r\n\r\nx\r\n' in laid.content
    boundary = laid.headers["content-type"].partition("boundary=")[2]
    assert laid.content.endswith(f"--{boundary}--\r\n".encode())


@pytest.mark.parametrize(
    ("properties", "url", "told"),
    [
        (["a", "b"], "https://h/x", "'b' has 0 places"),
        ([], "https://h/x", "takes 'a', which is no argument"),
        (["a"], "https://h/{id}", r"the address has \['id'\]"),
    ],
)
def test_a_layout_that_contradicts_the_arguments_is_named(properties: list[str], url: str, told: str) -> None:
    backend = HttpBackend(url=url, layout=RequestLayout(placements=(at(Place.QUERY),)))
    problem = layout_problem(backend, properties)
    assert problem is not None
    assert re.search(told, problem)
    assert layout_problem(HttpBackend(url="https://h/x"), properties) is None


def test_a_definition_without_a_layout_keeps_the_digest_that_it_had() -> None:
    stored = json.loads(HttpBackend(url="https://h/x").model_dump_json())
    assert stored == {"kind": "http", "url": "https://h/x", "method": "POST", "headers": {}}
