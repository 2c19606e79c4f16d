"""Which tools fit a conversation best, and in which order: by their words and by what they mean.

Words: BM25 over what a tool says of itself, its name, description and parameters (`tools.word_index`). Meaning: the cosine of
sentence embeddings, which finds "buy_seeds" for "25 kg of poppy, please". A request may ask for several things, so each of its
sentences searches for itself, and a tool counts as it fits the sentence that it fits best.

The best tool stands first. So the order tells the policy what the search believes, and how far that can be trusted is
something that it can learn.
"""

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tools.embedding import Embedder, MiniLm, Vectors
from tools.kept_vectors import KeptVectors, Vector
from tools.projection import Projection
from tools.spec import ToolSpec
from tools.word_index import WordIndex, words

_LOG = logging.getLogger(__name__)

_SENTENCE_END = re.compile(r"(?<=[.!?;])[\"')\]]*\s+(?=[A-Z\"'(\d])")
_MOST_PIECES = 12
"""Sentences that search for themselves; where there are more, neighbours go together."""
_LATER = 0.95
"""What a line of the conversation counts for, beside the one after it."""
_OLDEST = 5
"""Lines after which a line counts for no less."""
_WORDS_SHARE = 0.1
"""What the best match by words adds to a cosine when tools are put in order: the best of 0 to 0.5 on 500 requests of the demo
(`docs/log.md`; `python -m bench.retrieval` measures it)."""
_WORDS_WEIGHT = 0.6
"""Of a rank by words, beside one by meaning, when the few are found among many (`docs/decisions/0025-*.md`)."""
_RANK_OFFSET = 10
"""Of reciprocal rank fusion, by which the few are found among many."""
_RANKED = 64
"""Ranks that count, at least."""

RECIPE = "head and whole"
"""How a tool's vector is made, beside the model: vectors made in another way are not found in a file."""
_SMALL = 256
"""Tools in one search; an index of fewer is made anew when they change."""
_KEPT_INDEXES, _KEPT_LARGE = 64, 4
_KEPT_VECTORS = 50_000
"""About 77 MB."""
_AT_ONCE = 32
"""Vectors that a search computes itself, about a second; more are left to the background."""
_BATCH = 16
_KEPT_QUESTIONS = 4_096

Ranks: TypeAlias = NDArray[np.float64]


def open_retriever(by: Literal["meaning", "words"], *, kept: Path | None = None) -> "Retriever":
    """With its embedder loaded. Args: kept: as of `Retriever`, a file."""
    if by == "words":
        return Retriever(None)
    embedder, projection = MiniLm(), Projection.load()
    embedder.embed(["warm"])
    recipe = f"{embedder.name}, {RECIPE}, {projection.name}"
    return Retriever(embedder, projection, kept=KeptVectors(kept, recipe) if kept is not None else None)


class Retriever:
    """Puts tools in order. Safe to share between threads."""

    def __init__(
        self, embedder: Embedder | None, projection: Projection | None = None, *, kept: KeptVectors | None = None
    ) -> None:
        """
        Args:
            embedder: None: by words alone.
            projection: what was learnt of requests and tools; None: the embedder's vectors as they are.
            kept: where vectors outlive the process. With it, no search waits for the vectors of many tools: they are computed in
                the background, and until they are there tools are found by words. None: a search computes what it needs.
        """
        self._embedder = embedder
        self._projection = projection
        self._kept = kept
        self._gate = threading.Lock()
        """Held while an index is read or changed."""
        self._indexes: OrderedDict[tuple[str, ...], _Index] = OrderedDict()
        self._known: dict[str, Vector] = {}
        self._asked: dict[str, Vector] = {}
        self._last: tuple[Sequence[ToolSpec], tuple[str, ...]] = ((), ())
        self._filler: threading.Thread | None = None
        self._closed = threading.Event()

    def prepare(self, specs: Sequence[ToolSpec]) -> None:
        """Reads the tools, so that the first search among them need not."""
        if len(specs) > 1:
            with self._gate:
                index = self._index(self._described(specs))
                if self._embedder is not None:
                    self._fill(index)

    def finish(self) -> None:
        """Waits until what goes on in the background is done."""
        if self._filler is not None:
            self._filler.join()

    def close(self) -> None:
        """Ends what goes on in the background."""
        self._closed.set()
        self.finish()

    def shortlist(
        self, specs: Sequence[ToolSpec], text: str, *, limit: int = 0, keep: Sequence[str] = ()
    ) -> list[ToolSpec]:
        """The tools that fit the text best, the best one first.

        Args:
            text: what the conversation is about, such as the user's last messages, the latest last.
            limit: how many at most; 0: all of them.
            keep: names of tools that are among them whatever the text says, such as those that the conversation has used, the
                dearest first; they take up to half of the places.
        """
        places = {spec.name: i for i, spec in enumerate(specs)} if keep else {}
        kept = [places[name] for name in keep if name in places]
        return [specs[i] for i in self.order(self._described(specs), text, limit=limit, keep=kept)]

    def order(self, described: tuple[str, ...], text: str, *, limit: int = 0, keep: Sequence[int] = ()) -> list[int]:
        """Places of the tools that fit the text best, the best one first; like `shortlist`, for tools given by `describe`."""
        if len(described) < 2:
            return list(range(len(described)))
        pieces, weights_P = pieces_of(text)
        asked_PD = self._meaning_of(pieces) if self._embedder is not None else None
        with self._gate:
            index = self._index(described)
            whole_N, *words_PN = index.by_words(text, *(pieces if 0 < limit < len(described) else ()))
            meaning_PN = index.by_meaning(asked_PD) if asked_PD is not None and self._fill(index) else None
            chosen = list(range(len(described)))
            if 0 < limit < len(described):
                most = max(_RANKED, 2 * limit)
                found_PN = _WORDS_WEIGHT * _fused(np.stack(words_PN), most)
                if meaning_PN is not None:
                    found_PN += _fused(meaning_PN, most)
                chosen = _best((found_PN * weights_P[:, None]).max(axis=0), limit, keep)
            if meaning_PN is not None:
                meaning_PC = meaning_PN[:, chosen]
            elif asked_PD is not None and len(chosen) <= _AT_ONCE:
                meaning_PC = asked_PD @ self.vectors([described[i] for i in chosen]).T
            else:
                meaning_PC = np.zeros((len(pieces), len(chosen)))
        fit_C = (meaning_PC * weights_P[:, None]).max(axis=0)
        fit_C = fit_C + _WORDS_SHARE * whole_N[chosen] / max(float(whole_N.max()), 1e-9)
        return [chosen[c] for c in sorted(range(len(chosen)), key=lambda c: (-fit_C[c], chosen[c]))]

    def _described(self, specs: Sequence[ToolSpec]) -> tuple[str, ...]:
        """What the tools say of themselves; of those of the last call it is known."""
        last, described = self._last
        if specs is last:
            return described
        known = {id(spec): text for spec, text in zip(last, described, strict=True)}
        described = tuple(
            known.get(id(spec)) or describe(spec.name, spec.description, spec.parameters) for spec in specs
        )
        if len(specs) > _SMALL:
            self._last = (specs, described)  # holding the tools, so that no other one gets the identity of one of them
        return described

    def _index(self, described: tuple[str, ...]) -> "_Index":
        """The index of these tools: of a large number that has changed a little, the one of before is changed."""
        index = self._indexes.pop(described, None)
        if index is None and len(described) > _SMALL:
            near = next((key for key in reversed(self._indexes) if _is_near(key, described)), None)
            index = self._indexes.pop(near) if near is not None else None
        if index is None:
            index = _Index()
        index.hold(described)
        self._indexes[described] = index
        large = [key for key in self._indexes if len(key) > _SMALL]
        for key in large[:-_KEPT_LARGE]:
            del self._indexes[key]
        while len(self._indexes) > _KEPT_INDEXES:
            self._indexes.popitem(last=False)
        return index

    def _fill(self, index: "_Index") -> bool:
        """Gives an index the vectors that it lacks; False: some are still to come."""
        index.learn(self._known)
        if not index.lacking:
            return True
        if len(index.lacking) > _AT_ONCE and self._filler is not None and self._filler.is_alive():
            return False
        if self._kept is not None:
            self._remember(self._kept.get(list(index.lacking)))
            index.learn(self._known)
        lacking = list(index.lacking)
        if self._kept is None or len(lacking) <= _AT_ONCE:
            index.learn(dict(zip(lacking, self.vectors(lacking), strict=True)))
            return True
        _LOG.info(
            "vectors of %d tools are computed in the background; until then they are found by words", len(lacking)
        )
        self._filler = threading.Thread(target=self._compute_all, args=(lacking,), name="vectors of tools", daemon=True)
        self._filler.start()
        return False

    def _compute_all(self, texts: list[str]) -> None:
        for at in range(0, len(texts), _BATCH):
            if self._closed.is_set():
                return
            self.vectors(texts[at : at + _BATCH])
        _LOG.info("vectors of %d tools are there", len(texts))

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """What tools given by `describe` mean, a row for each; one that was met in other company is not computed again."""
        known = self._known
        new = [text for text in dict.fromkeys(texts) if text not in known]
        fresh = dict(zip(new, self._meaning_of_tools(new), strict=True)) if new else {}
        if fresh:
            self._remember(fresh)
            if self._kept is not None:
                self._kept.put(fresh)
        return np.array([fresh[text] if text in fresh else known[text] for text in texts])

    def _meaning_of_tools(self, described: list[str]) -> Vectors:
        """Half of a vector is what a tool is for, half is that with its parameters, which alone would water it down."""
        assert self._embedder is not None
        heads = [text.partition("\n")[0] for text in described]
        wholes = [text.replace("\n", ", ", 1) for text in described]
        different = list(dict.fromkeys([*heads, *wholes]))
        vectors = dict(zip(different, self._embedder.embed(different), strict=True))
        both = np.stack([vectors[head] + vectors[whole] for head, whole in zip(heads, wholes, strict=True)])
        unit = both / np.linalg.norm(both, axis=1, keepdims=True)
        return unit if self._projection is None else self._projection.of_tools(unit)

    def _remember(self, vectors: dict[str, Vector]) -> None:
        # a new dictionary, since another thread may be reading the old one
        self._known = vectors if len(self._known) + len(vectors) > _KEPT_VECTORS else self._known | vectors

    def _meaning_of(self, pieces: list[str]) -> Vectors:
        """Of what users say; a thread says it again with each turn."""
        assert self._embedder is not None
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self._asked]
        fresh = dict(zip(new, self._turned(self._embedder.embed(new)), strict=True)) if new else {}
        found = np.stack([fresh[piece] if piece in fresh else self._asked[piece] for piece in pieces])
        self._asked = fresh if len(self._asked) + len(fresh) > _KEPT_QUESTIONS else self._asked | fresh
        return found

    def _turned(self, vectors: Vectors) -> Vectors:
        return vectors if self._projection is None else self._projection.of_requests(vectors)


class _Index:
    """Tools that are offered together, by what they say of themselves; equal texts have one place in it."""

    def __init__(self) -> None:
        self.lacking: dict[str, int] = {}
        """Places of texts that have no vector yet."""
        self._held: tuple[str, ...] = ()
        self._order_N = np.zeros(0, np.int64)
        self._forget()

    def _forget(self) -> None:
        self._words = WordIndex()
        self._places: dict[str, int] = {}
        self._vectors: Vectors = np.zeros((0, 0), np.float32)
        self.lacking = {}

    def hold(self, described: tuple[str, ...]) -> None:
        """Makes these the tools; what stays is not read again."""
        if described is self._held:
            return
        staying = set(described)
        gone = [text for text in self._places if text not in staying]
        if self._words.size > 2 * len(staying) or len(gone) > len(staying):
            known = {text: self._vectors[at].copy() for text, at in self._places.items() if text not in self.lacking}
            self._forget()
        else:
            known = {}
            for text in gone:
                self._words.remove(self._places.pop(text), text)
                self.lacking.pop(text, None)
        for text in dict.fromkeys(described):
            if text not in self._places:
                self._places[text] = self.lacking[text] = self._words.add(text)
        self.learn(known)
        self._order_N = np.fromiter((self._places[text] for text in described), np.int64, len(described))
        self._held = described

    def learn(self, vectors: Mapping[str, Vector]) -> None:
        """Takes the vectors that it lacks."""
        found = {text: place for text, place in self.lacking.items() if text in vectors}
        if not found:
            return
        width = len(vectors[next(iter(found))])
        if len(self._vectors) < self._words.size:
            grown = np.zeros((self._words.size + self._words.size // 8, width), np.float32)
            if len(self._vectors):
                grown[: len(self._vectors)] = self._vectors
            self._vectors = grown
        for text, place in found.items():
            self._vectors[place] = vectors[text]
            del self.lacking[text]

    def by_words(self, *texts: str) -> Ranks:
        """(T, N), in the order of the tools."""
        return self._words.scores(*texts)[:, self._order_N]

    def by_meaning(self, asked_PD: Vectors) -> Ranks:
        """(P, N): cosines, in the order of the tools."""
        return (self._vectors[: self._words.size] @ asked_PD.T)[self._order_N].T.astype(np.float64)


def describe(name: str, description: str, parameters: Mapping[str, Any]) -> str:
    """What a tool says of itself: name and description on the first line, parameters on the second.

    Args: parameters: its JSON schema.
    """
    said: list[str] = []
    properties = parameters.get("properties", {})
    for parameter, schema in properties.items() if isinstance(properties, Mapping) else ():
        parts = [" ".join(words(parameter))]
        if isinstance(schema, Mapping):
            options = schema.get("enum", ())
            parts += [
                str(schema.get("description", "")),
                *map(str, options if isinstance(options, (list, tuple)) else ()),
            ]
        said.append(" ".join(part for part in parts if part))
    return f"{' '.join(words(name))}. {' '.join(description.split())}\n{', '.join(' '.join(part.split()) for part in said)}".strip()


def pieces_of(text: str) -> tuple[list[str], Ranks]:
    """The sentences of a conversation, each of which searches for itself, and what each counts for."""
    found: list[tuple[str, int]] = []
    lines = [line for line in text.split("\n") if len(words(line)) > 0] or [text]
    for age, line in zip(reversed(range(len(lines))), lines, strict=True):
        sentences = [part for part in _SENTENCE_END.split(line) if len(words(part)) > 1] or [line]
        found += [(sentence, min(age, _OLDEST)) for sentence in sentences]
    together = -(-len(found) // _MOST_PIECES)
    groups = [found[at : at + together] for at in range(0, len(found), together)]
    pieces = [" ".join(sentence for sentence, _ in group) for group in groups]
    return pieces, np.array([_LATER ** group[-1][1] for group in groups])


def _best(found: Ranks, limit: int, keep: Sequence[int]) -> list[int]:
    """Places of the highest scores, of equals the first, beside those that are kept."""
    kept = list(dict.fromkeys(keep))[: max(1, limit // 2)]
    order = np.argsort(-found, kind="stable")[: limit + len(kept)].tolist()
    return [*kept, *(place for place in order if place not in kept)][:limit]


def _fused(scores_PN: Ranks, most: int) -> Ranks:
    """What each place adds to a reciprocal rank fusion, (P, N): nothing where the score says nothing or the rank is past `most`."""
    found_PN = np.zeros(scores_PN.shape)
    for scores, found in zip(scores_PN, found_PN, strict=True):
        bound = np.partition(scores, -most)[-most] if most < len(scores) else -np.inf
        places = np.flatnonzero((scores >= bound) & (scores > 0))
        ranked = places[np.argsort(-scores[places], kind="stable")][:most]
        found[ranked] = 1 / (_RANK_OFFSET + np.arange(len(ranked)))
    return found_PN


def _is_near(before: tuple[str, ...], now: tuple[str, ...]) -> bool:
    """Whether changing an index of the ones makes less work than a new one of the others."""
    return len(before) > _SMALL and len(set(before) ^ set(now)) < len(now) // 4
