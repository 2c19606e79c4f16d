"""How much two tools look alike by what they say of themselves. Pure.

Two tools are *nearly the same* when a reader cannot tell from name and description which one is meant: then a policy cannot
either. Candidates are found by keys that near pairs must share, so that thousands of tools need no comparison of all pairs.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SAME_DESCRIPTION = 0.8
"""Jaccard similarity of the words of two descriptions from which on they say the same."""
_SAID_ENOUGH = 4
"""Words that a description must have to be compared: two of "Gets data" say nothing of their tools."""
_LONG_NAME = 7
"""Letters of a name from which on one more, less or other letter makes no other name."""
_STOP_WORDS = frozenset("a an and are by for from in is it of on or that the this to with you your".split())


@lru_cache(maxsize=100_000)
def words(text: str) -> tuple[str, ...]:
    """Words of a name or a sentence in small letters: `findFlights` and `find_flights` give the same."""
    return tuple(found.lower() for found in _WORD.findall(text))


def squashed(name: str) -> str:
    """A name without case, underscores and hyphens."""
    return re.sub(r"[_\-\s.]", "", name).lower()


@lru_cache(maxsize=100_000)
def content_words(text: str) -> frozenset[str]:
    """Words of a text that say something, without the endings of plurals."""
    return frozenset(_singular(word) for word in words(text) if word not in _STOP_WORDS)


def share(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity, 0 to 1; of two empty sets 0."""
    return len(a & b) / len(a | b) if a or b else 0.0


def same_name(a: str, b: str) -> bool:
    """Whether two names differ by case, separators, a plural, the order of their words, or one letter of many."""
    if content_words(a) == content_words(b) and sorted(map(_singular, words(a))) == sorted(map(_singular, words(b))):
        return True
    a, b = squashed(a), squashed(b)
    return min(len(a), len(b)) >= _LONG_NAME and bool({a, *_without_one(a)} & {b, *_without_one(b)})


def same_description(a: str, b: str) -> bool:
    mine, other = content_words(a), content_words(b)
    return min(len(mine), len(other)) >= _SAID_ENOUGH and share(mine, other) >= _SAME_DESCRIPTION


def near_pairs(described: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Pairs of names that are nearly the same, each once, with what is alike: "name" or "description".

    Args: described: description by name.
    """
    seen: set[tuple[str, str]] = set()
    for how, groups in (("name", _by_name(described)), ("description", _by_description(described))):
        for group in groups:
            for i, a in enumerate(group):
                for b in group[i + 1 :]:
                    pair = (a, b) if a < b else (b, a)
                    alike = same_name(a, b) if how == "name" else same_description(described[a], described[b])
                    if pair not in seen and alike:
                        seen.add(pair)
                        yield *pair, how


def _by_name(described: Mapping[str, str]) -> Iterator[Sequence[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in described:
        flat = squashed(name)
        keys = {" ".join(sorted(map(_singular, words(name)))), flat}
        for key in keys | (set(_without_one(flat)) if len(flat) >= _LONG_NAME else set()):
            groups[key].append(name)
    return (group for group in groups.values() if len(group) > 1)


def _by_description(described: Mapping[str, str]) -> Iterator[Sequence[str]]:
    """Two sets whose Jaccard similarity is t share one of the rarest `(1 - t) x size + 1` words of each."""
    sets = {name: content_words(text) for name, text in described.items()}
    counts = Counter(word for said in sets.values() for word in said)
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name, said in sets.items():
        if len(said) >= _SAID_ENOUGH:
            rarest = sorted(said, key=lambda word: (counts[word], word))
            for word in rarest[: int((1 - _SAME_DESCRIPTION) * len(said)) + 1]:
                groups[word].append(name)
    return (group for group in groups.values() if len(group) > 1)


def _without_one(flat: str) -> Iterator[str]:
    return (flat[:i] + flat[i + 1 :] for i in range(len(flat)))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
