"""Descriptions that try to steer whoever reads them: found at import, so that a person reads them before the policy does.

A tool's description is written by its server and read by the policy as if it were ours. These are the known ways of
hiding instructions in one: characters that people do not see (Unicode TR 36, 2.6; "tag" characters carry whole hidden
sentences), text written backwards, a chat template's control tokens, sentences that speak to the model about its
instructions, and so much text that nobody reads it. Patterns find what is known, not what is clever: a held tool is a
question to its owner, and one that is not held is no certificate.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tools.spec import JsonValue, ToolSpec

LONGEST_TEXT = 4_000
"""Characters of one description; the longest one of the tools that we tried has 1,300."""

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINERS = frozenset("\u200c\u200d")
"""Needed in the writing of many languages and in emoji."""
_BLANK = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f")
"""Fillers that are no format characters and yet show nothing."""
_CONTROL_TOKEN = re.compile(
    r"<\|[\w ./-]{1,40}\|>|</?(?:tool_call|tool_response|tools|think|s|system|assistant|im_start|im_end)>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>",
    re.IGNORECASE,
)
_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.\n]{0,40}?"
    r"\b(?:instructions?|prompts?|rules|guidelines|policies|directions|messages)\b"
    r"|\b(?:do not|don't|never|without)\b[^.\n]{0,30}?\b(?:tell|telling|inform|informing|mention|mentioning|reveal|notify)\b"
    r"[^.\n]{0,30}?\b(?:users?|humans?|anyone|operators?)\b"
    r"|\byou are now\b|\bsystem prompt\b|\bnew instructions\b|\bjailbreak\b"
    r"|<(?:important|secret|hidden|instructions?)>"
    r"|\b(?:before|instead of) (?:using|calling)\b[^.\n]{0,40}?\b(?:any|every|all|each)\b[^.\n]{0,20}?\btools?\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One text of a tool that its owner should read."""

    name: str
    """The tool's."""
    place: str
    """JSON path of the text in the tool's definition."""
    reason: str

    def plain(self) -> dict[str, str]:
        return {"name": self.name, "place": self.place, "reason": self.reason}


def suspicions(spec: ToolSpec) -> list[Suspicion]:
    """What in the tool's texts tries to steer the reader; one for each text, its worst."""
    found = []
    for place, text in _texts(spec):
        reason = _fault(text)
        if reason is not None:
            found.append(Suspicion(spec.name, place, reason))
    return found


def _fault(text: str) -> str | None:
    hidden = _hidden(text)
    if hidden is not None:
        return hidden
    token = _CONTROL_TOKEN.search(text)
    if token:
        return f"holds the control token {token[0].strip()!r}"
    order = _ORDER.search(text)
    if order:
        return f"speaks to the model: {order[0][:80]!r}"
    if len(text) > LONGEST_TEXT:
        return f"has {len(text):,} characters, more than {LONGEST_TEXT:,}"
    return None


def _hidden(text: str) -> str | None:
    for position, character in enumerate(text):
        shown = f"U+{ord(character):04X} at character {position}"
        if character in _BIDI:
            return f"turns the direction of writing with {shown}"
        if _is_invisible(character) and not _joins(text, position):
            return f"holds the invisible character {shown}"
    return None


def _is_invisible(character: str) -> bool:
    if character in "\t\n\r" or (character.isascii() and character.isprintable()):
        return False
    is_selector = 0xFE00 <= ord(character) <= 0xFE0F or 0xE0100 <= ord(character) <= 0xE01EF
    return is_selector or character in _BLANK or unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co", "Cs")


def _joins(text: str, position: int) -> bool:
    """A joiner or a selector of a glyph's form, in its place: after a sign that is seen, and not one of a row."""
    character = text[position]
    if character not in _JOINERS and not 0xFE00 <= ord(character) <= 0xFE0F:
        return False
    before = text[position - 1] if position else " "
    return not before.isascii() and unicodedata.category(before)[0] in "LMS" and not 0xFE00 <= ord(before) <= 0xFE0F


def _texts(spec: ToolSpec) -> Iterator[tuple[str, str]]:
    """All that the policy reads of a tool, names and values among it, with where it stands."""
    yield "$.description", spec.description
    yield from _texts_in(spec.parameters, "$.parameters")


def _texts_in(value: JsonValue, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{place}.{key}", key
            yield from _texts_in(item, f"{place}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts_in(item, f"{place}[{index}]")
