"""Values in the words of a request: where they stand, and the request without them. Pure."""

import re


def without(text: str, said: str | None) -> str | None:
    """The text with a value cut out; None where it is not there just once, or nothing would be left."""
    if said is None or not (place := only_place(text, said)):
        return None
    before, after = text[: place.start()], text[place.end() :]
    if before[-1:] in _QUOTES and after[:1] == before[-1:]:
        before, after = before[:-1], after[1:]
    before, after = _DANGLING.sub("", before.rstrip()), after.lstrip()
    before = re.sub(r"[\s,;:/|(-]+$", "", before) if re.match(r"[,;:/|).!?]|$", after) else before
    rest = f"{before} {after}" if after[:1].isalnum() else before + after
    rest = re.sub(r"^[\s,;:/|)-]+", "", rest)
    return rest if len(re.findall(r"\w+", rest)) >= 2 else None


def only_place(text: str, said: str) -> re.Match[str] | None:
    places = list(re.finditer(rf"(?<!\w){re.escape(said)}(?!\w)", text, re.IGNORECASE))
    return places[0] if len(places) == 1 else None


_QUOTES = ("'", '"', "`")
_DANGLING = re.compile(
    r"\s(?:about|as|at|by|called|for|from|in|into|is|named|near|of|on|to|using|with)$", re.IGNORECASE
)
"""Words that led to the value, which nobody says without it."""
