"""Sampling many requests at once with one key-value cache: rows join, take a step together, and leave when done.

Rows are padded on the left, so that all of them write at the same place; the mask hides the padding and each row keeps
its own positions. What a row is given depends on its own prompt, parameters and seed, never on its neighbours. All rows
of a batch use the same weights; switching adapters is `residency`'s affair.

Shapes: B rows, T cached positions, V vocabulary.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from runtime.policy.base import Phases, SamplingParams
from runtime.policy.embedded.constraint import Constraint

_READ_AT_ONCE = 16
"""Prompts without a shared beginning that `decode_together` reads side by side."""

Sampled = tuple[tuple[int, ...], tuple[float, ...], Phases]
"""Token ids, their logprobs, and where the time went."""


@dataclass(eq=False, slots=True)
class Row:
    """One request on its way through the model."""

    prompt_ids: tuple[int, ...]
    params: SamplingParams
    adapter: str | None
    limit: int
    """The most tokens that it may be given."""
    constraint: Constraint | None = None
    future: "Future[Sampled]" = field(default_factory=Future)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    generator: torch.Generator = field(default_factory=torch.Generator)
    came_at: float = field(default_factory=time.perf_counter)
    began_at: float = 0.0
    first_at: float = 0.0
    """When the first token was chosen."""

    def __post_init__(self) -> None:
        if self.params.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(self.params.seed & 0x7FFF_FFFF_FFFF_FFFF)

    def phases(self) -> Phases:
        """Where its time went, now that it is done."""
        return Phases(
            queue_s=self.began_at - self.came_at,
            prefill_s=self.first_at - self.began_at,
            decode_s=time.perf_counter() - self.first_at,
        )

    def choose(self, logprobs_V: torch.Tensor) -> int:
        """The next token, kept with its logprob. Args: logprobs_V: at temperature 1, of all tokens."""
        if self.constraint is not None:
            allowed_V = logprobs_V.masked_fill(~self.constraint.allowed_V(), -torch.inf)
            logprobs_V = torch.log_softmax(allowed_V, dim=-1)  # among those that it allows, as vLLM has them
        token = self._draw(logprobs_V)
        if self.constraint is not None:
            self.constraint.advance(token)
        self.token_ids.append(token)
        self.logprobs.append(float(logprobs_V[token]))
        return token

    def _draw(self, logprobs_V: torch.Tensor) -> int:
        if self.params.temperature <= 0:
            return int(logprobs_V.argmax())
        probabilities_V = torch.softmax(logprobs_V / self.params.temperature, dim=-1)
        if self.params.top_p < 1:
            probabilities_V = _nucleus(probabilities_V, self.params.top_p)
        return int(torch.multinomial(probabilities_V, 1, generator=self.generator))


class Batch:
    """Rows that decode together."""

    def __init__(self, model: Any, rows: Sequence[Row], stop_ids: frozenset[int], *, shared: int = 0) -> None:
        """Takes in the rows' prompts; the first token of each is sampled by the first `step`.

        Args:
            shared: tokens with which all prompts begin, fewer than the shortest has; they are read once.
        """
        self._model = model
        self._stop_ids = stop_ids
        self.rows = list(rows)
        own = [row.prompt_ids[shared:] for row in rows]
        length = max(map(len, own))
        self._input_BT = torch.tensor([[0] * (length - len(ids)) + list(ids) for ids in own], device=model.device)
        lengths_B = torch.tensor([len(ids) for ids in own], device=model.device)
        places_T = torch.arange(length, device=model.device)
        own_mask_BT = (places_T >= length - lengths_B[:, None]).long()
        self._mask_BT = torch.nn.functional.pad(own_mask_BT, (shared, 0), value=1)
        self._positions_BT = (self._mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, shared:]
        self._cache = DynamicCache(config=model.config)
        began_at = time.perf_counter()
        for row in self.rows:
            row.began_at = began_at
        if shared:
            self._read_once(rows[0].prompt_ids[:shared])

    @property
    def can_merge(self) -> bool:
        """False for models whose caches are not plain: their batches stay as they began."""
        return all(type(layer) is DynamicLayer for layer in self._cache.layers)

    def _read_once(self, prefix: Sequence[int]) -> None:
        input_1T = torch.tensor([prefix], device=self._model.device)
        self._model(input_ids=input_1T, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        self._cache.batch_repeat_interleave(len(self.rows))

    def step(self) -> list[Row]:
        """Samples one token for each row, and returns the rows that this ended, which leave."""
        logits_BV = self._model(
            input_ids=self._input_BT,
            attention_mask=self._mask_BT,
            position_ids=self._positions_BT,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        logprobs_BV = torch.log_softmax(logits_BV.float(), dim=-1).cpu()
        for row, logprobs_V in zip(self.rows, logprobs_BV, strict=True):
            row.choose(logprobs_V)
            if len(row.token_ids) == 1:
                row.first_at = time.perf_counter()
        self._input_BT = torch.tensor([[row.token_ids[-1]] for row in self.rows], device=self._model.device)
        self._positions_BT = self._positions_BT[:, -1:] + 1
        self._mask_BT = torch.nn.functional.pad(self._mask_BT, (0, 1), value=1)
        return self._drop_ended()

    def merge(self, other: "Batch") -> None:
        """Takes in the rows of another batch; both have taken at least one step."""
        length = max(self._mask_BT.shape[1], other._mask_BT.shape[1])
        for batch in (self, other):
            batch._pad_left(length - batch._mask_BT.shape[1])
        for mine, theirs in zip(self._layers(), other._layers(), strict=True):
            mine.keys = torch.cat([mine.keys, theirs.keys])
            mine.values = torch.cat([mine.values, theirs.values])
        self._mask_BT = torch.cat([self._mask_BT, other._mask_BT])
        self._input_BT = torch.cat([self._input_BT, other._input_BT])
        self._positions_BT = torch.cat([self._positions_BT, other._positions_BT])
        self.rows += other.rows

    def _drop_ended(self) -> list[Row]:
        ended = [row for row in self.rows if self._has_ended(row)]
        if not ended:
            return []
        keep = [index for index, row in enumerate(self.rows) if not self._has_ended(row)]
        self.rows = [self.rows[index] for index in keep]
        if keep:
            indices = torch.tensor(keep, device=self._model.device)
            self._cache.batch_select_indices(indices)
            self._mask_BT = self._mask_BT[indices]
            self._input_BT = self._input_BT[indices]
            self._positions_BT = self._positions_BT[indices]
            self._trim_left()
        return ended

    def _has_ended(self, row: Row) -> bool:
        full = len(row.token_ids) >= row.limit
        return full or row.token_ids[-1] in self._stop_ids or row.future.cancelled()

    def _trim_left(self) -> None:
        """Gives up the places that are padding in every row."""
        unused = int(self._mask_BT.argmax(dim=1).min())
        if unused and self.can_merge:
            for layer in self._layers():
                layer.keys = layer.keys[:, :, unused:]
                layer.values = layer.values[:, :, unused:]
            self._mask_BT = self._mask_BT[:, unused:]

    def _pad_left(self, count: int) -> None:
        if count:
            for layer in self._layers():
                layer.keys = torch.nn.functional.pad(layer.keys, (0, 0, count, 0))
                layer.values = torch.nn.functional.pad(layer.values, (0, 0, count, 0))
            self._mask_BT = torch.nn.functional.pad(self._mask_BT, (count, 0))

    def _layers(self) -> list[Any]:
        return list(self._cache.layers)


def decode_together(model: Any, rows: Sequence[Row], stop_ids: frozenset[int]) -> list[Sampled]:
    """Decodes rows to their ends as one batch, the beginnings that prompts share read once; the same rows give the same again."""
    batches = [Batch(model, family, stop_ids, shared=shared) for family, shared in _families(rows)]
    for batch in batches:
        batch.step()
    running = [batch for batch in batches if batch.rows]
    while running:
        if running[0].can_merge:
            first, *others = running
            for other in others:
                first.merge(other)
            running = [first]
        for batch in running:
            batch.step()
        running = [batch for batch in running if batch.rows]
    return [(tuple(row.token_ids), tuple(row.logprobs), row.phases()) for row in rows]


def _families(rows: Sequence[Row]) -> list[tuple[list[Row], int]]:
    """The rows in groups that are read at once, each with the number of tokens that its prompts share.

    Prompts with a long beginning in common (the same tools, the same conversation so far) are neighbours when sorted; those without
    such company are read side by side, in groups of similar length.
    """
    families: list[tuple[list[Row], int]] = []
    alone: list[Row] = []
    group: list[Row] = []
    shared = 0
    for row in [*sorted(rows, key=lambda row: row.prompt_ids), None]:
        common = _common(group[-1], row) if group and row is not None else 0
        if row is not None and (not group or min(common, shared or common) * 2 >= len(row.prompt_ids)):
            shared = min(common, shared or common) if group else 0
            group.append(row)
            continue
        if len(group) > 1:
            families.append((group, shared))
        else:
            alone += group
        group, shared = [row] if row is not None else [], 0
    alone.sort(key=lambda row: (len(row.prompt_ids), row.prompt_ids))
    return [*families, *((alone[i : i + _READ_AT_ONCE], 0) for i in range(0, len(alone), _READ_AT_ONCE))]


def _common(a: Row, b: Row) -> int:
    """Tokens with which both prompts begin; at least one is left to each."""
    most = min(len(a.prompt_ids), len(b.prompt_ids)) - 1
    return next((i for i in range(most) if a.prompt_ids[i] != b.prompt_ids[i]), most)


def score(model: Any, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> tuple[float, ...]:
    """Logprobs of a given completion under the weights as they are now."""
    input_1T = torch.tensor([[*prompt_ids, *completion_ids]], device=model.device)
    count = len(completion_ids)
    logits_TV = model(input_ids=input_1T, use_cache=False, logits_to_keep=count + 1).logits[0, -count - 1 : -1]
    logprobs_TV = torch.log_softmax(logits_TV.float(), dim=-1)
    chosen_T = logprobs_TV.gather(1, input_1T[0, -count:, None])[:, 0]
    return tuple(chosen_T.tolist())


def _nucleus(probabilities_V: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zeroes all but the likeliest tokens that together reach `top_p`; the likeliest always stays."""
    ordered_V, order_V = probabilities_V.sort(descending=True)
    beyond_V = ordered_V.cumsum(dim=-1) - ordered_V >= top_p
    beyond_V[0] = False
    return probabilities_V.index_fill(0, order_V[beyond_V], 0.0)
