"""Values in the words of a request: where they stand, and the request without them. Pure."""

import re

_QUOTES = ("'", '"', "`")
_DANGLING = re.compile(
    r"\s(?:about|as|at|by|called|for|from|in|into|is|named|near|of|on|to|using|with)$", re.IGNORECASE
)
"""Words that led to the value, which nobody says without it."""


def without(text: str, said: str | None) -> str | None:
    """The text with a value cut out; None where it is not there just once, or nothing would be left."""
    if said is None or not (place := only_place(text, said)):
        return None
    before, after = text[: place.start()], text[place.end() :]
    if is_quoted(text, place):
        before, after = before[:-1], after[1:]
    before, after = _DANGLING.sub("", before.rstrip()), after.lstrip()
    before = re.sub(r"[\s,;:/|(-]+$", "", before) if re.match(r"[,;:/|).!?]|$", after) else before
    rest = f"{before} {after}" if after[:1].isalnum() else before + after
    rest = re.sub(r"^[\s,;:/|)-]+", "", rest)
    return rest if len(re.findall(r"\w+", rest)) >= 2 else None


def only_place(text: str, said: str) -> re.Match[str] | None:
    """Where a value is said; None where that is nowhere or not sure."""
    found = places(text, said)
    return found[0] if len(found) == 1 else None


def places(text: str, said: str) -> list[re.Match[str]]:
    """Wherever a value is said as words or a figure of its own: "10" is not in "10,000", nor "Oslo" in "Oslofjord"."""
    if said.casefold() not in text.casefold():  # most often; patterns cost more
        return []
    before = r"(?<!\w)" + (r"(?<!\d[.,])" if said[:1].isdigit() else "")
    after = r"(?!\w)" + (r"(?![.,]\d)" if said[-1:].isdigit() else "")
    return list(re.finditer(before + re.escape(said) + after, text, re.IGNORECASE))


def is_quoted(text: str, place: re.Match[str]) -> bool:
    """Whether a value stands alone between two marks of one kind."""
    mark = text[max(place.start() - 1, 0) : place.start()]
    return mark in _QUOTES and text[place.end() :][:1] == mark
