"""Parameter styles by the examples of OpenAPI 3.1 (4.8.12.4) and RFC 6570."""

from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.parameter_styles import header_value, path_value, query_pairs
from tools.spec import Style

COLOURS = ["blue", "black"]
RGB = {"R": 100, "G": 200}


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        (Style.SIMPLE, False, "blue", "blue"),
        (Style.SIMPLE, False, COLOURS, "blue,black"),
        (Style.SIMPLE, False, RGB, "R,100,G,200"),
        (Style.SIMPLE, True, RGB, "R=100,G=200"),
        (Style.LABEL, False, "blue", ".blue"),
        (Style.LABEL, False, COLOURS, ".blue,black"),
        (Style.LABEL, True, COLOURS, ".blue.black"),
        (Style.LABEL, True, RGB, ".R=100.G=200"),
        (Style.MATRIX, False, "blue", ";color=blue"),
        (Style.MATRIX, False, COLOURS, ";color=blue,black"),
        (Style.MATRIX, True, COLOURS, ";color=blue;color=black"),
        (Style.MATRIX, False, RGB, ";color=R,100,G,200"),
        (Style.MATRIX, True, RGB, ";R=100;G=200"),
        (Style.JSON, False, {"a": 1}, "%7B%22a%22%3A%201%7D"),
        (Style.SIMPLE, False, "a/b c", "a%2Fb%20c"),
        (Style.SIMPLE, False, True, "true"),
    ],
)
def test_a_path_parameter_is_written_as_its_style_says(style: Style, explode: bool, value: Any, written: str) -> None:
    assert path_value("color", value, style, explode=explode) == written


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        (Style.FORM, True, COLOURS, "color=blue&color=black"),
        (Style.FORM, False, COLOURS, "color=blue,black"),
        (Style.FORM, True, RGB, "R=100&G=200"),
        (Style.FORM, False, RGB, "color=R,100,G,200"),
        (Style.SPACE, False, COLOURS, "color=blue%20black"),
        (Style.PIPE, False, COLOURS, "color=blue%7Cblack"),
        (Style.TAB, False, COLOURS, "color=blue%09black"),
        (Style.DEEP, True, RGB, "color[R]=100&color[G]=200"),
        (Style.DEEP, True, {"a": {"b": [1, 2]}}, "color[a][b]=1&color[a][b]=2"),
        (Style.FORM, False, [], ""),
        (Style.FORM, True, None, ""),
        (Style.FORM, True, 1.5, "color=1.5"),
    ],
)
def test_a_query_parameter_is_written_as_its_style_says(style: Style, explode: bool, value: Any, written: str) -> None:
    assert "&".join(f"{k}={v}" for k, v in query_pairs("color", value, style, explode=explode)) == written


def test_a_header_is_written_plainly() -> None:
    assert header_value(COLOURS, Style.SIMPLE, explode=False) == "blue,black"
    assert header_value(RGB, Style.SIMPLE, explode=True) == "R=100,G=200"
    assert header_value({"a": "ü"}, Style.JSON, explode=False) == '{"a": "\\u00fc"}'


@given(st.text(), st.lists(st.text()))
def test_any_text_survives_the_query(name: str, values: list[str]) -> None:
    pairs = query_pairs(name, values, Style.FORM, explode=True)
    query = "&".join(f"{key}={value}" for key, value in pairs)
    assert parse_qsl(query, keep_blank_values=True) == [(name, value) for value in values]


@given(st.text())
def test_any_text_survives_the_path_as_one_part(value: str) -> None:
    written = path_value("id", value, Style.SIMPLE, explode=False)
    assert not set("/?#;") & set(written)
    assert unquote(written) == value
