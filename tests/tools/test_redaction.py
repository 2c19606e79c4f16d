"""A secret is recognised in whatever way a service writes it, and nothing else is touched."""

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.redaction import Redaction

ODD = "k3y:/+ \"\\<&%='#\\\\9z"
SECRETS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=8, max_size=60).map(
    lambda text: f"q{text}9"
)
WRITINGS: list[Callable[[str], str]] = [
    str,
    repr,
    json.dumps,
    quote,
    quote_plus,
    html.escape,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower(),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: json.dumps(json.dumps(json.dumps(text))),
    lambda text: json.dumps(repr(text)),
    lambda text: json.dumps(text).replace("/", "\\/"),
    lambda text: quote(json.dumps(text), safe=""),
    lambda text: json.dumps(html.escape(text)),
    lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in text),
    lambda text: "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text),
    lambda text: text.replace("\\", "%5C").replace(" ", "%20"),  # what a browser leaves alone in a path
]


def cleaned(text: str, *secrets: str, cut: bool = False) -> str:
    redaction = Redaction()
    for secret in secrets:
        redaction.cover(secret, "KEY")
    return redaction.clean(text, cut=cut)


@pytest.mark.parametrize("number", range(len(WRITINGS)))
def test_a_value_with_odd_characters_is_taken_out_in_each_writing(number: int) -> None:
    written = WRITINGS[number](ODD)
    assert cleaned(f"before {written} after", ODD).count("[secret KEY]") == 1
    assert "k3y" not in cleaned(f"before {written} after", ODD)


@given(secret=SECRETS, write=st.sampled_from([w for w in WRITINGS if w("ABC") in ("ABC", repr("ABC"), '"ABC"')]))
def test_no_value_survives_a_writing(secret: str, write: Callable[[str], str]) -> None:
    assert "[secret KEY]" in cleaned(f"<{write(secret)}>", secret)


@given(
    secret=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=12, max_size=60),
    before=st.text(max_size=9),
    after=st.text(max_size=9),
    encode=st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]),
)
def test_base64_of_text_around_a_value_shows_at_most_its_edges(
    secret: str, before: str, after: str, encode: Callable[[bytes], bytes]
) -> None:
    encoded = encode(before.encode() + secret.encode() + after.encode()).decode()
    told = cleaned(encoded, secret)
    assert "[secret KEY]" in told
    assert len(told.replace("[secret KEY]", "")) <= (len(before.encode()) + len(after.encode())) * 4 / 3 + 8


@pytest.mark.parametrize("before", ["", "-", "--"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("write", [quote, quote_plus, json.dumps, str])
def test_base64_of_an_address_or_a_body_that_holds_a_value_is_left_out(
    write: Callable[[str], str], encode: Callable[[bytes], bytes], before: str
) -> None:
    value = 'user:pass/+ "\\<&%=word'
    redaction = Redaction()
    redaction.cover(value, "S")
    encoded = encode(f"{before}https://host.example/?key={write(value)}&more".encode()).decode()
    assert "[secret S]" in redaction.clean(f'{{"sent": "x{encoded}"}}')
    assert base64.b64encode(b"user:pass").decode()[4:8] not in redaction.clean(encoded)


def test_a_text_that_was_cut_within_a_value_shows_no_part_of_it() -> None:
    text = f"{'.' * 1000}{ODD[:7]}"
    assert "k3y" in cleaned(text, ODD)
    assert "k3y" not in cleaned(text, ODD, cut=True)
    assert cleaned(text, cut=True) == text


def test_other_text_stays_as_it_is() -> None:
    text = json.dumps({"a": "k3y", "b": ["k3y:/", 9, "\\u0022", "%2F"]})
    assert cleaned(text, ODD, "another-secret") == text


@pytest.mark.parametrize("hostile", ["\\", "%", "%25", "&", "&#", "&amp;", '\\"', "k3y:\\", "q\\u"])
def test_no_answer_makes_the_search_slow(hostile: str) -> None:
    text = hostile * (1_000_000 // len(hostile)) + "k3y 9z"
    began = time.process_time()
    cleaned(text, ODD, '"\\\\"' * 10 + "q")
    assert time.process_time() - began < 5
