"""Which tokens a grammar allows next, by llguidance.

Shapes: N places or constraints, V vocabulary, W its words of 32 bits.
"""

import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import llguidance.hf
import llguidance.torch
import numpy as np
import torch
from llguidance import LLMatcher

from runtime.errors import PolicyError


class Constraint:
    """One completion's way through a grammar."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher = matcher
        self.vocabulary = vocabulary

    def fill(self, bits_NW: torch.Tensor, index: int) -> None:
        """Sets a line of a mask to the tokens that may come next."""
        llguidance.torch.fill_next_token_bitmask(self._matcher, bits_NW, index)

    def forced(self) -> list[int]:
        """The tokens that have to come next, as the tokenizer would write them; none where there is a choice."""
        return self._matcher.compute_ff_tokens()

    def advance(self, token: int) -> None:
        self._matcher.consume_token(token)

    def copy(self) -> "Constraint":
        return Constraint(self._matcher.deep_copy(), self.vocabulary)

    def walk(self, token_ids: Sequence[int]) -> torch.Tensor | None:
        """What was allowed at each place of a completion, as (N, V / 32) words; None: the grammar does not allow the completion."""
        way = self.copy()
        bits_NW = llguidance.torch.allocate_token_bitmask(len(token_ids), self.vocabulary)
        for place, token in enumerate(token_ids):
            way.fill(bits_NW, place)
            if not bits_NW[place, token // 32] >> (token % 32) & 1:
                return None
            way.advance(token)
        return bits_NW


class Grammars:
    """Compiles grammars for one tokenizer."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, stop_ids: frozenset[int]) -> None:
        self._tokenizer, self._vocabulary, self._stop_ids = tokenizer, vocabulary, stop_ids
        self._gate = threading.Lock()

    def start(self, grammar: str) -> Constraint:
        """Raises: PolicyError: the grammar is not one."""
        with self._gate:
            matcher = LLMatcher(self._loaded, grammar)
        if matcher.is_error():
            raise PolicyError(f"the grammar cannot be used: {matcher.get_error()}")
        return Constraint(matcher, self._vocabulary)

    @cached_property
    def _loaded(self) -> llguidance.LLTokenizer:
        return llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=sorted(self._stop_ids))


def allowed(constraints: Sequence[Constraint]) -> torch.Tensor:
    """(N, V): true where a token may come next. When a grammar is at its end, only the end of the turn may."""
    return unpacked(allowed_bits(constraints), constraints[0].vocabulary)


def allowed_bits(constraints: Sequence[Constraint]) -> torch.Tensor:
    """The same as (N, W) words."""
    bits_NW = llguidance.torch.allocate_token_bitmask(len(constraints), constraints[0].vocabulary)
    for index, constraint in enumerate(constraints):
        constraint.fill(bits_NW, index)
    return bits_NW


def unpacked(bits_NW: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """(N, V) booleans from (N, W) 32-bit words, the lowest bit first."""
    bytes_NK = bits_NW.numpy().view(np.uint8)
    return torch.from_numpy(np.unpackbits(bytes_NK, axis=1, count=vocabulary, bitorder="little")).bool()
