"""Which rows of two sets are the same request, word for word or nearly: what is trained on must not be what is measured on. Pure.

Rows are compared by what the users say in them. Short requests ("thanks", "cancel it") are alike by nature, so they count only
where the same tools are shown.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

from learner.rows import Row

NEAR = 90
"""Per cent of characters in common (`rapidfuzz.fuzz.ratio`) from which two requests count as one."""
LEAST_WORDS = 5
"""Of a request that tells something by itself."""
CHUNK = 1_000
"""Rows of one comparison, which takes so many times the others' number of bytes."""
_SPACE = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Duplicate:
    row: str
    """Id."""
    of: str
    """Id of the row that it is like."""
    likeness: int
    """Per cent; 100: the words are the same."""


def between(rows: Sequence[Row], others: Sequence[Row], *, chunk: int = CHUNK) -> list[Duplicate]:
    """Rows that some row of another set is like, each with the one that it is most like, in the order of `rows`."""
    return list(_alike(rows, others, chunk, only_before=False))


def within(rows: Sequence[Row]) -> list[Duplicate]:
    """Rows that an earlier one of the same set is like."""
    return list(_alike(rows, rows, CHUNK, only_before=True))


def without(rows: Sequence[Row], duplicates: Sequence[Duplicate]) -> list[Row]:
    """The rows that are no duplicates."""
    gone = {duplicate.row for duplicate in duplicates}
    return [row for row in rows if row.extra_info["id"] not in gone]


def _alike(rows: Sequence[Row], others: Sequence[Row], chunk: int, *, only_before: bool) -> Iterator[Duplicate]:
    texts, known = [said_in(row) for row in rows], [said_in(row) for row in others]
    for start in range(0, len(rows), chunk):
        part = texts[start : start + chunk]
        likeness = process.cdist(part, known, scorer=fuzz.ratio, score_cutoff=NEAR, dtype="uint8", workers=-1)
        for i, scores in enumerate(likeness):
            number = start + i
            found = [
                int(j)
                for j in scores.nonzero()[0]
                if (not only_before or j < number) and _counts(rows[number], others[int(j)], part[i])
            ]
            if found:
                best = max(found, key=lambda j: (int(scores[j]), -j))
                yield Duplicate(rows[number].extra_info["id"], others[best].extra_info["id"], int(scores[best]))


def said_in(row: Row) -> str:
    """The words of the users, in lower case and without punctuation."""
    said = [str(message.get("content") or "") for message in row.prompt if message["role"] == "user"]
    return _SPACE.sub(" ", " ".join(said).lower()).strip()


def _counts(row: Row, other: Row, text: str) -> bool:
    return len(text.split()) >= LEAST_WORDS or _tools(row) == _tools(other)


def _tools(row: Row) -> set[str]:
    return {tool["function"]["name"] for tool in row.tools}
