"""What comes near a sentence of the demo: a model that was trained on it would be measured on what it has seen."""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

from hone.demo.traffic import read_traffic
from tools.likeness import content_words, share

_NEAR = 0.5
"""Jaccard similarity of words."""
_NO_WORDS = re.compile(r"{\w+}|\d+")
"""Slots and figures."""


def near_the_demo(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Each with the opening of the demo that it is near."""
    openings, having = _openings()
    found: list[tuple[str, str]] = []
    for text in texts:
        said = content_words(_NO_WORDS.sub("", text))
        alike = {opening for word in said for opening in having.get(word, ())}
        found += [(text, opening) for opening in sorted(alike) if share(said, openings[opening]) > _NEAR]
    return found


@cache
def _openings() -> tuple[dict[str, frozenset[str]], dict[str, list[str]]]:
    """The words of each, and by word those that have it."""
    openings = {visit.opening: content_words(visit.opening) for visit in read_traffic()}
    assert len(openings) > 1000
    having: dict[str, list[str]] = defaultdict(list)
    for opening, words in openings.items():
        for word in words:
            having[word].append(opening)
    return openings, having
