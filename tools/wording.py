"""Values in the words of a request: where they stand, and the request without them. Pure."""

import re


def without(text: str, said: str | None) -> str | None:
    """The text with a value cut out; None where it is not there just once, or nothing would be left."""
    if said is None or not (place := only_place(text, said)):
        return None
    before, after = text[: place.start()].rstrip(), text[place.end() :].lstrip()
    before = re.sub(r"[\s,;:/|(-]+$", "", before) if re.match(r"[,;:/|).!?]|$", after) else before
    rest = f"{before} {after}" if after[:1].isalnum() else before + after
    rest = re.sub(r"^[\s,;:/|)-]+", "", rest)
    return rest if len(re.findall(r"\w+", rest)) >= 2 else None


def only_place(text: str, said: str) -> re.Match[str] | None:
    places = list(re.finditer(rf"(?<!\w){re.escape(said)}(?!\w)", text, re.IGNORECASE))
    return places[0] if len(places) == 1 else None
