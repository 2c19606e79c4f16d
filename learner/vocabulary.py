"""Whole words as tokens, and embeddings that begin where a sentence model has these words.

Pieces learnt from invented texts spell most of what people say ("rest-aur-ant"), and the pieces of a word say nothing of what it
means. With a token for each frequent word prompts get shorter, and words that training seldom shows, or never, begin beside those
that mean about the same: of two tools, or two parameters, the nearer one can be told without having met the word.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

import torch

from learner.starter import as_pretrained
from tools.embedding import MiniLm

PLAIN, CAPITALISED = 9000, 4000
"""Frequent words that become tokens, and how many of the most frequent also with a capital."""
_SHORTEST = 2
_MEANT = 0.8
"""How far a word is moved by what it means, in lengths of an ordinary embedding about the mean."""


def frequent_words(plain: int = PLAIN, capitalised: int = CAPITALISED) -> list[str]:
    """Words in small letters, the most frequent first, then those with a capital."""
    words = [word for word in MiniLm().words if len(word) >= _SHORTEST][:plain]
    return [*words, *(word.capitalize() for word in words[:capitalised])]


def with_words(tokenizer: Any, words: Sequence[str]) -> Any:
    """The starter's tokenizer with these words as tokens of their own, and the pieces on the way to them; else as it was.

    Its byte-pair encoding goes on from where it ended, on these words alone: whatever splits texts, they are found, and readers of
    the file need no more than merges.

    Args: words: of ASCII letters.
    """
    from tokenizers import Tokenizer

    while True:
        backend = tokenizer.backend_tokenizer
        spelt = {word: backend.encode(word, add_special_tokens=False).tokens for word in words}
        merges = _merges({word: pieces for word, pieces in spelt.items() if len(pieces) > 1})
        if not merges:
            return tokenizer
        state = json.loads(backend.to_str())
        vocabulary: dict[str, int] = state["model"]["vocab"]
        for left, right in merges:
            vocabulary.setdefault(left + right, len(vocabulary))
        state["model"]["merges"] += [list(pair) for pair in merges]
        follows = len(vocabulary)
        for token in state["added_tokens"]:
            if token["content"] not in vocabulary:
                token["id"], follows = follows, follows + 1
        tokenizer = as_pretrained(Tokenizer.from_str(json.dumps(state)))


def _merges(spelt: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Byte-pair encoding of words until each is one token: always the pair that most of them have."""
    having: dict[tuple[str, str], set[str]] = defaultdict(set)
    for word, pieces in spelt.items():
        for pair in pairwise(pieces):
            having[pair].add(word)
    waiting = [(-len(members), pair) for pair, members in having.items()]
    heapify(waiting)
    found: list[tuple[str, str]] = []
    while waiting:
        count, pair = heappop(waiting)
        if len(having[pair]) != -count:
            continue  # it was counted anew
        members = having.pop(pair)
        if not members:
            continue
        found.append(pair)
        changed: set[tuple[str, str]] = set()
        for word in members:
            before, spelt[word] = spelt[word], _joined(spelt[word], pair)
            gone, come = set(pairwise(before)), set(pairwise(spelt[word]))
            for other in gone - come - {pair}:
                having[other].discard(word)
            for other in come - gone:
                having[other].add(word)
            changed |= (gone ^ come) - {pair}
        for other in changed:
            heappush(waiting, (-len(having[other]), other))
    return found


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] += piece
        else:
            found.append(piece)
    return found


def begun_embeddings(known: Mapping[str, int], embeddings: torch.Tensor, tokens: Mapping[str, int]) -> torch.Tensor:
    """Embeddings for another vocabulary: those of tokens that are known, and for new words others like them; all words moved
    towards those that mean about the same.

    Args:
        known: numbers of the tokens of `embeddings`.
        embeddings: [V, D]
        tokens: numbers of the tokens of the new vocabulary, 0 to W - 1; those not in `known` are words, or pieces on the way
            to them, which count as words. What is known already moves each time that others join.

    Returns: [W, D]
    """
    found = embeddings.mean(0).repeat(len(tokens), 1)
    for token, number in tokens.items():
        if token in known:
            found[number] = embeddings[known[token]]
    words = sorted(token for token in tokens if _is_word(token))
    old = [word for word in words if word in known]
    middles = {big: _known(embeddings, known, [w for w in old if w.islower() != big]).mean(0) for big in (False, True)}
    around = torch.stack([middles[not word.islower()] for word in old]) if old else embeddings.mean(0)
    apart = _known(embeddings, known, old) - around
    new = [word for word in words if word not in known]
    for word, own in zip(new, _like(apart, len(new)), strict=True):
        found[tokens[word]] = middles[not word.islower()] + own
    places = _MEANT * apart.norm(dim=1).mean() * _by_meaning(words, embeddings.shape[1])
    found[[tokens[word] for word in words]] += places
    return found


def _like(apart: torch.Tensor, count: int) -> torch.Tensor:
    """Draws that spread as these do. What a layer copies it knows by the directions in which embeddings differ already. [N, D]"""
    covariance = apart.T @ apart / len(apart)
    factor = torch.linalg.cholesky(covariance + 1e-5 * covariance.diagonal().mean() * torch.eye(len(covariance)))
    return torch.randn(count, len(covariance), generator=torch.Generator().manual_seed(0)) @ factor.T


def _known(embeddings: torch.Tensor, known: Mapping[str, int], words: Sequence[str]) -> torch.Tensor:
    """Those of these words; where there are none, all."""
    return embeddings[[known[word] for word in words]] if words else embeddings


def _is_word(token: str) -> bool:
    return token.isascii() and token.isalpha() and len(token) >= _SHORTEST and (token.islower() or token.istitle())


def _by_meaning(words: Sequence[str], width: int) -> torch.Tensor:
    """The sentence model's vectors about their mean, in the directions in which they differ most; of length 1 on the average.

    The directions are turned at random, so that each number of an embedding has its share. [N, width]
    """
    small = sorted({word.lower() for word in words})
    vectors = torch.from_numpy(MiniLm(exact=True).embed(small))
    vectors = vectors - vectors.mean(0)
    directions = torch.linalg.svd(vectors, full_matrices=False).Vh[:width]
    turned = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(0))).Q
    places = vectors @ directions.T @ turned[: len(directions)]  # of a wider model some directions stay free
    at = {word: number for number, word in enumerate(small)}
    return places[[at[word.lower()] for word in words]] / places.norm(dim=1).mean()
