"""Where values may come from: what the policy was shown, by source, and read for its words, numbers, days and times.

Users' messages, tools' results and the operator's system message are sources. What the assistant wrote is none, but for a
question that the user confirmed with a plain yes.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

from runtime.verify.mentions import ClockTime, days_in, numbers_in, times_in

_YES = re.compile(r"\s*(yes|yep|yeah|yup|sure|correct|right|exactly|please do|ok|okay|true)\b", re.IGNORECASE)
_NO = re.compile(r"\s*(no|nope|nah|false)\b", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s\-_'’`/|–—]+|[,:;=](?!\d)|(?<!\d)[,:;=]")
_EDGES = '.,;:!?()[]{}<>"“”„«»*'


@dataclass(frozen=True)
class Context:
    """What the policy was shown, as sources of values."""

    said: tuple[str, ...]
    """By the user, with questions that the user confirmed."""
    shown: tuple[str, ...] = ()
    """By tools and by the operator."""
    denied: tuple[str, ...] = ()
    """Questions that the user answered with no."""
    today: date | None = None
    """The day from which "tomorrow" is counted."""

    @classmethod
    def of(cls, messages: Iterable[Mapping[str, Any]], *, today: date | None = None) -> "Context":
        """Reads a conversation in OpenAI's shape."""
        said: list[str] = []
        denied: list[str] = []
        from_tools: list[str] = []
        from_operator: list[str] = []
        question = ""
        for message in messages:
            text = message_text(message)
            match message.get("role"):
                case "user":
                    said.append(text)
                    if question and _YES.match(text):
                        said.append(question)
                    elif question and _NO.match(text):
                        denied.append(question)
                    question = ""
                case "assistant":
                    question = text
                case "tool":
                    from_tools += _leaves(text)
                case "system" | "developer":
                    from_operator.append(text)
        return cls(
            said=tuple(said),
            shown=(*from_tools, *from_operator),
            denied=tuple(denied),
            today=_reference_day(from_operator, from_tools) or today,
        )

    @cached_property
    def _sources(self) -> tuple[str, ...]:
        return (*self.said, *self.shown)

    @cached_property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The words of each source."""
        return tuple(words(text) for text in self._sources)

    @cached_property
    def said_words(self) -> tuple[tuple[str, ...], ...]:
        """The words of each thing that the user said."""
        return tuple(words(text) for text in self.said)

    @cached_property
    def letters(self) -> frozenset[str]:
        """One-character words as written."""
        return frozenset(word for text in self._sources for word in split(text) if len(word) == 1)

    @cached_property
    def numbers(self) -> frozenset[Decimal]:
        return frozenset(number for text in self._sources for number in numbers_in(text))

    @cached_property
    def calendar_numbers(self) -> frozenset[Decimal]:
        return frozenset(number for text in self._sources for number in numbers_in(text, within_dates=True))

    @cached_property
    def days(self) -> frozenset[date]:
        stated = [days_in(text) for text in self._sources]
        if self.today is None:
            return frozenset(day for days in stated for day in days.full)
        return frozenset(day for days in stated for day in days.resolve(self.today))

    @cached_property
    def times(self) -> frozenset[ClockTime]:
        return frozenset(time for text in self._sources for time in times_in(text))


def message_text(message: Mapping[str, Any]) -> str:
    """A message's content as text, whether it is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def split(text: str) -> list[str]:
    """The words of a text as written, without edge punctuation; "#42" is 42, but "C#" stays."""
    parts = (part.strip(_EDGES).lstrip("#") for part in _SEPARATORS.split(unicodedata.normalize("NFKC", text)))
    return [part for part in parts if part]


def words(text: str) -> tuple[str, ...]:
    """The words of a text whatever their case."""
    return tuple(part.casefold() for part in split(text))


def _leaves(text: str) -> list[str]:
    """What a tool's result states: each value of its JSON on its own, or the text as it is."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    return [*_walk(data)]


def _walk(data: Any) -> Iterator[str]:
    if isinstance(data, Mapping):
        if set(data) == {"error", "message"}:
            return  # an error quotes the arguments it refuses; quoted back, an invented value is no better grounded
        for key, value in data.items():
            yield key
            yield from _walk(value)
    elif isinstance(data, list):
        for value in data:
            yield from _walk(value)
    elif data is not None and not isinstance(data, bool):
        yield str(data)


def _reference_day(from_operator: Iterable[str], from_tools: Iterable[str]) -> date | None:
    for texts in (from_operator, from_tools):
        stated = {day for text in texts for day in days_in(text).full}
        if len(stated) == 1:
            return stated.pop()
    return None
