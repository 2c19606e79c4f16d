"""BM25 over texts that come and go: adding or taking away one of 10,000 costs a millisecond, and nothing is built anew.

The scores are those of Lucene's BM25 (k1 = 1.5, b = 0.75), as the library bm25s gives them. It computes all of them when it is
built, so each change of one text would cost the second that 10,000 take.
"""

import re
from array import array
from collections import Counter

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_BEGINNING = 4
"""Letters of a longer word that count as its beginning."""
_K1, _B = 1.5, 0.75


class WordIndex:
    """Each text has a place, counted from 0 in the order of adding; no place is used twice. Not safe to share between threads."""

    def __init__(self) -> None:
        self._postings: dict[str, tuple[array[int], array[float]]] = {}
        """Of each token: places, and how often it stands there; those of removed texts among them."""
        self._lengths = array("f")
        """0: removed."""
        self._texts: Counter[str] = Counter()
        """Of each token: how many texts have it."""
        self._count = 0

    @property
    def size(self) -> int:
        """Places given so far, those of removed texts among them."""
        return len(self._lengths)

    def add(self, text: str) -> int:
        """Its place."""
        place = len(self._lengths)
        counts = Counter(tokens(text))
        for token, times in counts.items():
            places, often = self._postings.setdefault(token, (array("i"), array("f")))
            places.append(place)
            often.append(times)
        self._texts.update(counts.keys())
        self._lengths.append(max(1, counts.total()))
        self._count += 1
        return place

    def remove(self, place: int, text: str) -> None:
        """Args: text: what was added there."""
        self._texts.subtract(set(tokens(text)))
        self._lengths[place] = 0
        self._count -= 1

    def scores(self, *texts: str) -> Scores:
        """A row for each text, with one score for each place; 0 where no word is in common."""
        lengths = np.frombuffer(self._lengths, np.float32).astype(np.float64)
        norms = _K1 * (1 - _B + _B * lengths / max(lengths.sum() / max(self._count, 1), 1))
        found = np.zeros((len(texts), len(lengths)))
        asked: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            for token in dict.fromkeys(tokens(text)):
                asked.setdefault(token, []).append(row)
        for token, rows in asked.items():
            having = self._texts[token]
            if having:
                places = np.frombuffer(self._postings[token][0], np.int32)
                often = np.frombuffer(self._postings[token][1], np.float32)
                rarity = np.log(1 + (self._count - having + 0.5) / (having + 0.5))
                gains = rarity * often / (norms[places] + often)
                for row in rows:
                    found[row, places] += gains
        found[:, lengths == 0] = 0
        return found


def words(text: str) -> list[str]:
    """In small letters; names are read as words (`findFlights`, `find_flights`)."""
    return [word.lower() for word in _WORD.findall(text)]


def tokens(text: str) -> list[str]:
    """Words, and the beginnings of longer ones, so that "flying" finds "fly"."""
    found: list[str] = []
    for word in words(text):
        found.append(word)
        if len(word) >= _BEGINNING:
            found.append(f"{word[:_BEGINNING]}-")
    return found
