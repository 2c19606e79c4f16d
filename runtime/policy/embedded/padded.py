"""Any Hugging Face causal LM, called as it is, over key-value caches of its own kind.

Rows are padded on the left, so that all of a batch write at the same place; the mask hides the padding and each row keeps its own
positions. A beginning that prompts share (the same tools, the same conversation so far) is read once.

Shapes: B rows, T cached positions, V vocabulary.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from runtime.policy.embedded.rows import Row, choose

_READ_AT_ONCE = 16
"""Prompts without a shared beginning that are read side by side."""


class PaddedDecoder:
    """`decoder.Decoder` on a model with whatever weights are active in it."""

    def __init__(self, activate: Callable[[], Any], stop_ids: frozenset[int]) -> None:
        """Args: activate: gives the model, with this decoder's weights in it; called before each use."""
        self._activate = activate
        self._stop_ids = stop_ids
        self._batches: list[_Batch] = []

    @property
    def rows(self) -> Sequence[Row]:
        return [row for batch in self._batches for row in batch.rows]

    def admit(self, rows: Sequence[Row]) -> list[Row]:
        model = self._activate()
        batches = [_Batch(model, family, self._stop_ids, shared=shared) for family, shared in _families(rows)]
        ended = [row for batch in batches for row in batch.step()]
        self._batches = _merged([*self._batches, *(batch for batch in batches if batch.rows)])
        return ended

    def step(self) -> list[Row]:
        self._activate()
        ended = [row for batch in self._batches for row in batch.step()]
        self._batches = [batch for batch in self._batches if batch.rows]
        return ended


def _merged(batches: list["_Batch"]) -> list["_Batch"]:
    """One batch of all, where their caches allow it."""
    if not batches or not batches[0].can_merge:
        return batches
    first, *others = batches
    for other in others:
        first.merge(other)
    return [first]


class _Batch:
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
        choose(self.rows, logits_BV)
        self._input_BT = torch.tensor([[row.token_ids[-1]] for row in self.rows], device=self._model.device)
        self._positions_BT = self._positions_BT[:, -1:] + 1
        self._mask_BT = torch.nn.functional.pad(self._mask_BT, (0, 1), value=1)
        return self._drop_ended()

    def merge(self, other: "_Batch") -> None:
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
        ended = [row for row in self.rows if row.has_ended(self._stop_ids)]
        if not ended:
            return []
        keep = [index for index, row in enumerate(self.rows) if row not in ended]
        self.rows = [self.rows[index] for index in keep]
        if keep:
            indices = torch.tensor(keep, device=self._model.device)
            self._cache.batch_select_indices(indices)
            self._mask_BT = self._mask_BT[indices]
            self._input_BT = self._input_BT[indices]
            self._positions_BT = self._positions_BT[indices]
            self._trim_left()
        return ended

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
