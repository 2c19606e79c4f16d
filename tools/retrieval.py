"""Which tools fit a conversation best, and in which order: by their words and by what they mean.

Words: BM25 over what a tool says of itself, its name, description and parameters. Names are read as words (`findFlights`,
`find_flights`), and a word's beginning counts too, so that "flying" finds "fly". Meaning: the cosine of sentence embeddings, which
finds "buy_seeds" for "25 kg of poppy, please".

The best tool stands first. So the order tells the policy what the search believes, and how far that can be trusted is
something that it can learn.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import bm25s
import numpy as np
from numpy.typing import NDArray

from tools.embedding import Embedder, MiniLm, Vectors
from tools.spec import ToolSpec

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_BEGINNING = 4
"""Letters of a longer word that count as its beginning."""
_WORDS_SHARE = 0.1
"""What the best match by words adds to a cosine when tools are put in order: the best of 0 to 0.5 on 500 requests of the demo
(`docs/log.md`; `python -m bench.retrieval` measures it)."""
_RANK_OFFSET = 10
"""Of reciprocal rank fusion, by which the few are found among many."""
_KEPT_INDEXES = 64
_KEPT_VECTORS = 50_000
"""About 77 MB."""

Scores = NDArray[np.float64]


def open_retriever(by: Literal["meaning", "words"]) -> "Retriever":
    """With its embedder loaded."""
    if by == "words":
        return Retriever(None)
    embedder = MiniLm()
    embedder.embed(["warm"])
    return Retriever(embedder)


class Retriever:
    """Puts tools in order. Safe to share between threads."""

    def __init__(self, embedder: Embedder | None) -> None:
        """Args: embedder: None: by words alone."""
        self._embedder = embedder
        self._vectors: dict[str, Vectors] = {}
        self._matrix = lru_cache(maxsize=_KEPT_INDEXES)(self._embed)
        self._indexes = lru_cache(maxsize=_KEPT_INDEXES)(_Index)

    def shortlist(
        self, specs: Sequence[ToolSpec], text: str, *, limit: int = 0, keep: Collection[str] = ()
    ) -> list[ToolSpec]:
        """The tools that fit the text best, the best one first.

        Args:
            text: what the conversation is about, such as the user's last messages.
            limit: how many at most; 0: all of them.
            keep: names of tools that are among them whatever the text says, such as those that the conversation has used.
        """
        described = tuple(describe(spec.name, spec.description, spec.parameters) for spec in specs)
        kept = {i for i, spec in enumerate(specs) if spec.name in keep}
        return [specs[i] for i in self.order(described, text, limit=limit, keep=kept)]

    def order(self, described: tuple[str, ...], text: str, *, limit: int = 0, keep: Collection[int] = ()) -> list[int]:
        """Places of the tools that fit the text best, the best one first; like `shortlist`, for tools given by `describe`."""
        if len(described) < 2:
            return list(range(len(described)))
        words, meaning = self._scores(described, text)
        chosen = range(len(described))
        if 0 < limit < len(described):
            found = _fused(words) + _fused(meaning)
            chosen = sorted(chosen, key=lambda i: (i not in keep, -found[i], i))[:limit]
        fit = meaning + _WORDS_SHARE * words / max(float(words.max()), 1e-9)
        return sorted(chosen, key=lambda i: (-fit[i], i))

    def _scores(self, described: tuple[str, ...], text: str) -> tuple[Scores, Scores]:
        """By words and by meaning; without an embedder the words stand for both."""
        words = self._indexes(described).scores(text)
        if self._embedder is None:
            return words, words
        (asked,) = self._embedder.embed([text])
        return words, (self._matrix(described) @ asked).astype(np.float64)

    def _embed(self, described: tuple[str, ...]) -> Vectors:
        """A matrix of one vector for each description; one that was met in other company is not computed again."""
        assert self._embedder is not None
        known = self._vectors
        new = [text for text in dict.fromkeys(described) if text not in known]
        fresh = dict(zip(new, self._embedder.embed(new), strict=True))
        vectors = np.stack([fresh[text] if text in fresh else known[text] for text in described])
        if len(known) + len(fresh) > _KEPT_VECTORS:
            self._vectors = known = {}
        known.update(fresh)
        return vectors


class _Index:
    """BM25 over descriptions."""

    def __init__(self, described: tuple[str, ...]) -> None:
        corpus = [_tokens(text) or ["-"] for text in described]
        self._size = len(corpus)
        self._known = set().union(*corpus)
        self._bm25 = bm25s.BM25()
        self._bm25.index(corpus, show_progress=False)

    def scores(self, text: str) -> Scores:
        query = [token for token in dict.fromkeys(_tokens(text)) if token in self._known]
        return self._bm25.get_scores(query).astype(np.float64) if query else np.zeros(self._size)


def describe(name: str, description: str, parameters: Mapping[str, Any]) -> str:
    """What a tool says of itself, as one text. Args: parameters: its JSON schema."""
    said = [f"{' '.join(_WORD.findall(name)).lower()}. {description}"]
    properties = parameters.get("properties", {})
    for parameter, schema in properties.items() if isinstance(properties, Mapping) else ():
        parts = [" ".join(_WORD.findall(parameter)).lower()]
        if isinstance(schema, Mapping):
            options = schema.get("enum", ())
            parts += [
                str(schema.get("description", "")),
                *map(str, options if isinstance(options, (list, tuple)) else ()),
            ]
        said.append(" ".join(part for part in parts if part))
    return ", ".join(said)


def _fused(scores: Scores) -> Scores:
    """What each place adds to a reciprocal rank fusion; nothing where the score says nothing."""
    ranks = np.empty(len(scores), np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return np.where(scores > 0, 1 / (_RANK_OFFSET + ranks), 0.0)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    for found in _WORD.findall(text):
        word = found.lower()
        tokens.append(word)
        if len(word) >= _BEGINNING:
            tokens.append(f"{word[:_BEGINNING]}-")
    return tokens
