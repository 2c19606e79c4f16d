"""Takes the secrets of a call out of what the policy, the traces and the logs are shown.

A service may repeat what it was sent ("invalid key sk-..."), an error may quote an address that carries a key. On the
way a value may be written anew, once or several times: percent-encoded, escaped for JSON or HTML, in base64. Letters and
digits stay as they are in all of these but base64, so a value is looked for with each other character in any of its forms.
What is in base64 as a whole (an address, a body) is read, and left out where it holds one.
"""

import base64
import re
from collections.abc import Iterator
from html.entities import codepoint2name
from typing import Any

MIN_CHARS = 4
"""A shorter secret is no secret, and taking it out would tear unrelated text apart."""
_MIN_BASE64_CHARS = 8
"""Of a piece of base64, which is found by chance more easily than a value."""
_MAX_ESCAPES = 8
"""Backslashes before one character: JSON within JSON within JSON has seven."""
_LONGEST_FORM = 16
"""Characters that one may become."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")
_WORDS = re.compile(r"[A-Za-z0-9]+")
_PARTS = re.compile(r"\\+|.", re.DOTALL)


class Redaction:
    """The secrets that one call has used so far."""

    def __init__(self) -> None:
        self._shown_as: dict[str, str] = {}

    def cover(self, value: str, name: str) -> None:
        """From now on, `value` is shown as `[secret NAME]`, however it is written."""
        for text in (value, *_in_base64(value)):
            if len(text) >= MIN_CHARS:
                self._shown_as[text] = f"[secret {name}]"

    def cover_pair(self, pair: str, name: str) -> None:
        """`user:password`: the pair, and the password alone."""
        self.cover(pair, name)
        self.cover(pair.partition(":")[2], name)

    def clean(self, text: str, *, cut: bool = False) -> str:
        """
        Args:
            cut: the text ends where a limit ended it, maybe within a secret: as much of its end is left out as a secret may take.
        """
        if self._shown_as:
            text = _BASE64.sub(lambda run: self._shown_instead(run[0]) or run[0], self._replaced(text))
        if cut and self._shown_as:
            text = text[: -_LONGEST_FORM * max(map(len, self._shown_as))]
        return text

    def clean_json(self, value: Any) -> Any:
        """JSON with each of its strings cleaned, names of members among them."""
        if not self._shown_as:
            return value
        match value:
            case str():
                return self.clean(value)
            case list():
                return [self.clean_json(part) for part in value]
            case dict():
                return {self.clean(name): self.clean_json(part) for name, part in value.items()}
            case _:
                return value

    def _replaced(self, text: str) -> str:
        for covered in sorted(self._shown_as, key=len, reverse=True):
            if all(word in text for word in _WORDS.findall(covered)):
                shown = self._shown_as[covered]
                text = re.sub(_pattern(covered), lambda _, shown=shown: shown, text)
        return text

    def _shown_instead(self, run: str) -> str | None:
        """What stands for a run of base64 that holds a secret in some form; None: it holds none."""
        if len(run) * 3 < min(map(len, self._shown_as)) * 4:
            return None
        for encoded in _alignments(run):
            text = base64.urlsafe_b64decode(encoded).decode("latin-1")
            if self._replaced(text) != text:
                return next(shown for shown in self._shown_as.values() if shown in self._replaced(text))
        return None


def _alignments(run: str) -> Iterator[str]:
    """The run from each place where a group of four may begin, for a letter before it may seem to belong to it."""
    run = run.replace("+", "-").replace("/", "_")
    for begin in range(4):
        rest = run[begin:]
        whole = rest[:-1] if len(rest) % 4 == 1 else rest
        yield whole + "=" * (-len(whole) % 4)


def _in_base64(value: str) -> Iterator[str]:
    """The value alone, and what of it can be seen in the base64 of any text around it.

    Base64 writes three bytes as four characters, so a value looks in one of three ways, by where it begins; the
    characters at its ends that also carry its neighbours' bits are left out.
    """
    data = value.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode()
        for before in range(3):
            begin, end = -(-before * 8 // 6), (before + len(data)) * 8 // 6
            if end - begin >= _MIN_BASE64_CHARS:
                yield encode(bytes(before) + data).decode()[begin:end]


def _pattern(value: str) -> str:
    """Each repetition is bounded and ambiguous nowhere, so that no text of a service's choice makes the search slow."""
    forms = []
    after_escape = False
    for part in _PARTS.findall(value):
        is_escape = part[0] == "\\"
        if is_escape:
            forms.append(f"(?:{_BACKSLASH}|u(?i:005c)){{{len(part)},{len(part) * _MAX_ESCAPES * 2}}}")
        else:
            forms.append(part if part.isascii() and part.isalnum() else _any_form(part, escapable=not after_escape))
        after_escape = is_escape
    return "".join(forms)


def _any_form(character: str, *, escapable: bool) -> str:
    code = ord(character)
    escapes = f"{_BACKSLASH}{{0,{_MAX_ESCAPES}}}" if escapable else ""
    encoded = "".join(_percent(byte) for byte in character.encode("utf-8", "replace"))
    plus = r"|\+" if character == " " else ""
    return f"{escapes}(?:{re.escape(character)}|u(?i:{code:04x})|{encoded}|{_entity(code)}{plus})"


def _percent(byte: int) -> str:
    return f"%(?:25){{0,2}}(?i:{byte:02x})"


def _entity(code: int) -> str:
    named = f"|{codepoint2name[code]}" if code in codepoint2name else ""
    return f"&(?:amp;)?(?:#0{{0,4}}{code}|#[xX]0{{0,4}}(?i:{code:x}){named});"


_BACKSLASH = rf"(?:\\|{_percent(92)}|{_entity(92)})"
