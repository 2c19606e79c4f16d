"""Which parts of an answer stand in a tool's result, and which of its numbers stand nowhere. Pure.

A string of a result is cited where the answer repeats it as whole words, whatever the case. A number is cited where the answer
writes the same number, or that number rounded ("21.5" for 21.48); of a list its length counts too. What is worded anew is not
recognised: a citation says where something comes from, its absence says nothing, except of a number.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from pydantic import BaseModel, ConfigDict

from runtime.agent.messages import Message

_NUMBER = re.compile(r"(?<![\w.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w]|\.\d)")
_SHORTEST, _LONGEST = 2, 200
"""Characters of a string that is looked for whole."""
_MOST_VALUES = 5_000
"""Of all results together; the newest ones count."""


class Citation(BaseModel):
    """A part of an answer and where it comes from."""

    model_config = ConfigDict(frozen=True)

    start: int
    end: int
    text: str
    """`answer[start:end]`, counted in characters."""
    tool: str
    call_id: str
    path: str
    """JSONPath of the value in the tool's result."""


class _Value(BaseModel):
    content: str | Decimal
    tool: str
    call_id: str
    path: str


def citations(answer: str, messages: Sequence[Message]) -> tuple[Citation, ...]:
    """What of an answer stands in the results of tools, in order, none overlapping; the longer one counts, then the newer result.

    Args: messages: what the policy saw when it wrote the answer.
    """
    values = _values(messages)
    places = {match.span(): _read(match[0]) for match in _NUMBER.finditer(answer)}
    folded = _folded(answer)
    found: list[Citation] = []
    for value in values:
        spans = _said(value.content, folded) if isinstance(value.content, str) else _stated(value.content, places)
        for start, end in spans:
            where = value.model_dump(exclude={"content"})
            found.append(Citation(start=start, end=end, text=answer[start:end], **where))
    chosen: list[Citation] = []
    for one in sorted(found, key=lambda c: c.start - c.end):
        if all(one.end <= other.start or other.end <= one.start for other in chosen):
            chosen.append(one)
    return tuple(sorted(chosen, key=lambda c: c.start))


def unsupported_numbers(answer: str, messages: Sequence[Message]) -> tuple[str, ...]:
    """Numbers of an answer that neither a tool's result nor anybody in the conversation states, as they are written there."""
    results = [value.content for value in _values(messages) if isinstance(value.content, Decimal)]
    said = [n for m in messages if m["role"] != "tool" for n in _numbers_in(str(m.get("content") or ""))]
    known = [*results, *said]
    written = dict.fromkeys(match[0] for match in _NUMBER.finditer(answer))
    return tuple(text for text in written if not any(_is_same(value, _read(text)) for value in known))


def _said(content: str, folded: str) -> Iterator[tuple[int, int]]:
    if not _SHORTEST <= len(content) <= _LONGEST:
        return
    wanted = _folded(content)
    at = folded.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        if not folded[max(at - 1, 0) : at].isalnum() and not folded[end : end + 1].isalnum():
            yield at, end
        at = folded.find(wanted, end)


def _folded(text: str) -> str:
    """In lower case, of the same length: the few characters that would become two stay."""
    return "".join(lower if len(lower := character.lower()) == 1 else character for character in text)


def _stated(number: Decimal, places: Mapping[tuple[int, int], Decimal]) -> Iterator[tuple[int, int]]:
    return (span for span, written in places.items() if _is_same(number, written))


def _is_same(value: Decimal, written: Decimal) -> bool:
    """Whether `written` is the value, or the value rounded to as many decimals."""
    if value == written:
        return True
    step = Decimal(1).scaleb(int(written.as_tuple().exponent))
    try:
        return written in (value.quantize(step, ROUND_HALF_UP), value.quantize(step, ROUND_HALF_EVEN))
    except InvalidOperation:
        return False


def _values(messages: Sequence[Message]) -> list[_Value]:
    """Of the results of tools, the newest first."""
    found: list[_Value] = []
    for message in reversed(messages):
        if message["role"] != "tool" or not message.get("tool_call_id"):
            continue
        try:
            data = json.loads(message["content"], parse_float=Decimal, parse_int=Decimal)
        except (ValueError, RecursionError):
            data = message["content"]
        whence = {"tool": str(message.get("name") or ""), "call_id": str(message["tool_call_id"])}
        for path, content in _leaves(data, "$"):
            found.append(_Value(content=content, path=path, **whence))
            if len(found) == _MOST_VALUES:
                return found
    return found


def _leaves(data: Any, path: str) -> Iterator[tuple[str, str | Decimal]]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _leaves(value, f"{path}.{key}" if key.isidentifier() else f"{path}[{json.dumps(key)}]")
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _leaves(value, f"{path}[{i}]")
        yield f"{path}.length()", Decimal(len(data))
    elif isinstance(data, Decimal):
        if data.is_finite():
            yield path, data
    elif isinstance(data, str):
        yield path, data.strip()
        for number in _numbers_in(data):
            yield path, number


def _numbers_in(text: str) -> list[Decimal]:
    return [_read(match[0]) for match in _NUMBER.finditer(text)]


def _read(written: str) -> Decimal:
    return Decimal(written.replace(",", ""))
