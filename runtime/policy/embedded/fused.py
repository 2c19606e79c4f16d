"""Small Qwen2 models on a CPU, in as few operations as they need.

A step of a model of some million parameters is mostly the dispatch of small operations. Here the projections that read the same
input are one matrix, norms are folded into the matrices that follow them, and an adapter is merged into weights of its own. That
costs a copy of the matrices for each adapter, so larger models, in which the matrices themselves are the work, are left to
`runtime.policy.embedded.padded`.

Keys and values lie in slots that last: a new prompt takes over the beginning that it shares with any prompt read before, its own
conversation above all, and reads only the rest. A step reads a guess at what follows along with what each row was given
(`runtime.policy.embedded.guesses`).

Shapes: B rows, T tokens of each, N = B x T, W the width, H heads of queries, G heads of keys and values, D their width; in the
cache L layers, S slots, P places; V vocabulary.
"""

import math
import mmap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention, silu
from transformers import Qwen2ForCausalLM

from runtime.policy.embedded.guesses import Guess, guess
from runtime.policy.embedded.rows import Row, choose

MAX_PARAMETERS = 64_000_000
"""The largest model of which each adapter may have a copy."""
_SLOTS, _PLACES = 8, 256
"""What the cache begins with; both grow when rows come that need more."""
_MOST_GUESSED = 6
"""Tokens of a row that a step reads beyond the one that was given."""
_GUESSED_AT_ONCE = 32
"""The same of all rows together: beyond, guesses cost what they save."""
_TOGETHER = 4
"""Rows whose attention is computed at once: fewer are more calls, more are more padding."""
_WORTH_SHARING = 16
"""Tokens; a shorter common beginning is read again."""
_BYTES_OF_A_NUMBER = 4
KEPT_AT_REST = 128 * 2**20
"""Bytes of keys and values that stay when no request runs."""


def can_fuse(model: Any, *, most: int = MAX_PARAMETERS) -> bool:
    """Whether `FusedModel` computes what this model does, and is of use for it."""
    config = model.config
    return (
        type(model) is Qwen2ForCausalLM
        and model.device.type == "cpu"
        and model.dtype == torch.float32
        and model.num_parameters() <= most
        and config.hidden_act == "silu"
        and config.rope_parameters["rope_type"] == "default"
        and all(kind == "full_attention" for kind in config.layer_types)
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """Matrices as (in, out), the norm before each folded in."""

    into_heads: torch.Tensor
    """Queries, keys and values, head by head; each head's two halves interleaved, so that a rotation is a complex product."""
    into_heads_bias: torch.Tensor
    out_of_heads: torch.Tensor
    into_mlp: torch.Tensor
    """Gate, then up."""
    out_of_mlp: torch.Tensor


class FusedModel:
    """The weights of a base, or of a base and one adapter, and what they make of tokens."""

    def __init__(self, model: Any, weight_of: Callable[[Any], torch.Tensor]) -> None:
        """Args: weight_of: the (out, in) weight of one of the model's linear layers, an adapter's share in it."""
        config = model.config
        self.layers, self.heads, self.groups = (
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads,
        )
        self.head_width = model.model.layers[0].self_attn.head_dim
        width = config.hidden_size
        self._floor = torch.tensor(math.sqrt(width * config.rms_norm_eps))
        self._embedding_VW = model.get_input_embeddings().weight.detach()
        self._layers = [self._layer(layer, weight_of) for layer in model.model.layers]
        self._head_WV = _after_norm(model.model.norm, weight_of(model.lm_head))
        self.places = config.max_position_embeddings
        places = torch.arange(self.places)[None]
        cos_PD, sin_PD = (turn[0, :, : self.head_width // 2] for turn in model.model.rotary_emb(places.float(), places))
        self._turns_PD = torch.complex(cos_PD, sin_PD)

    def _layer(self, layer: Any, weight_of: Callable[[Any], torch.Tensor]) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        turned = torch.arange(self.head_width).view(2, -1).t().flatten()
        order = torch.arange((self.heads + 2 * self.groups) * self.head_width).view(-1, self.head_width)
        order[: self.heads + self.groups] = order[: self.heads + self.groups, turned]
        order = order.flatten()
        return _Layer(
            into_heads=_after_norm(layer.input_layernorm, torch.cat([weight_of(p) for p in projections])[order]),
            into_heads_bias=torch.cat([p.bias.detach() for p in projections])[order],
            out_of_heads=weight_of(attention.o_proj).t().contiguous(),
            into_mlp=_after_norm(
                layer.post_attention_layernorm, torch.cat([weight_of(mlp.gate_proj), weight_of(mlp.up_proj)])
            ),
            out_of_mlp=weight_of(mlp.down_proj).t().contiguous(),
        )

    def read(
        self,
        ids_BT: torch.Tensor,
        places_BT: torch.Tensor,
        keys_LBGPD: torch.Tensor,
        values_LBGPD: torch.Tensor,
        *,
        wanted: int = 1,
    ) -> torch.Tensor:
        """Reads tokens at their places in their rows and leaves their keys and values there.

        Args:
            keys_LBGPD, values_LBGPD: of the rows, up to and with the last place.
            wanted: of how many of the last tokens the logits are returned, as (B, wanted, V).
        """
        (rows, tokens), places = ids_BT.shape, keys_LBGPD.shape[3]
        parts = _parts(places_BT, keys_LBGPD, values_LBGPD, from_start=tokens == places)
        at = (torch.arange(rows)[:, None], places_BT)
        turns_BT1D = self._turns_PD[places_BT][:, :, None]
        states_NW = self._embedding_VW[ids_BT.flatten()]
        for number, layer in enumerate(self._layers):
            keys_BGPD, values_BGPD = keys_LBGPD[number], values_LBGPD[number]
            projected = torch.addmm(layer.into_heads_bias, self._unit(states_NW), layer.into_heads)
            heads_BTHD = projected.view(rows, tokens, -1, self.head_width)
            turned = heads_BTHD[:, :, : self.heads + self.groups].unflatten(-1, (-1, 2))
            turned = torch.view_as_real(torch.view_as_complex(turned) * turns_BT1D).flatten(-2)
            keys_BGPD.transpose(1, 2)[at] = turned[:, :, self.heads :]
            values_BGPD.transpose(1, 2)[at] = heads_BTHD[:, :, self.heads + self.groups :]
            queries_BHTD = turned[:, :, : self.heads].transpose(1, 2)
            seen = [
                scaled_dot_product_attention(
                    queries_BHTD[part.rows],
                    part.keys[number],
                    part.values[number],
                    attn_mask=part.mask,
                    is_causal=part.mask is None and tokens > 1,
                    enable_gqa=self.groups != self.heads,
                ).transpose(1, 2)
                for part in parts
            ]
            seen_NW = (seen[0] if len(seen) == 1 else torch.cat(seen)).reshape(rows * tokens, -1)
            states_NW = torch.addmm(states_NW, seen_NW, layer.out_of_heads)
            gate_NI, up_NI = torch.mm(self._unit(states_NW), layer.into_mlp).chunk(2, dim=-1)
            states_NW = torch.addmm(states_NW, silu(gate_NI).mul_(up_NI), layer.out_of_mlp)
        last_NW = states_NW.view(rows, tokens, -1)[:, -wanted:].flatten(0, 1)
        return torch.mm(self._unit(last_NW), self._head_WV).view(rows, wanted, -1)

    def _unit(self, states_NW: torch.Tensor) -> torch.Tensor:
        """RMS-normalised but for the factors that `_after_norm` put into the next matrix."""
        norms_N1 = torch.linalg.vector_norm(states_NW, dim=-1, keepdim=True)
        return states_NW / torch.hypot(norms_N1, self._floor)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows whose attention is computed at once."""

    rows: slice
    keys: Sequence[torch.Tensor]
    values: Sequence[torch.Tensor]
    """Of each layer, up to the last place that one of the rows sees."""
    mask: torch.Tensor | None
    """(B, 1, T, P), what is added to the scores; None where each token sees all up to itself."""


def _parts(
    places_BT: torch.Tensor, keys_LBGPD: torch.Tensor, values_LBGPD: torch.Tensor, *, from_start: bool
) -> list[_Part]:
    """A few rows each, for a short one costs as much as the longest that it is computed with."""
    rows, tokens = places_BT.shape
    if from_start or rows == tokens == 1:
        return [_Part(slice(None), keys_LBGPD.unbind(), values_LBGPD.unbind(), None)]
    ends = (places_BT[:, -1] + 1).tolist()
    parts = []
    for first in range(0, rows, _TOGETHER):
        some = slice(first, first + _TOGETHER)
        end = max(ends[some])
        hidden = torch.arange(end) > places_BT[some, :, None]
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -math.inf)[:, None]
        keys, values = (cache[:, some, :, :end].unbind() for cache in (keys_LBGPD, values_LBGPD))
        parts.append(_Part(some, keys, values, mask))
    return parts


def _after_norm(norm: Any, weight: torch.Tensor) -> torch.Tensor:
    """The (in, out) matrix that gives, of a vector of length one, what `weight` gives of the RMS-normalised one."""
    return (weight * norm.weight.detach() * math.sqrt(weight.shape[1])).t().contiguous()


class FusedDecoder:
    """`decoder.Decoder` on a `FusedModel`. The running rows have the first slots; the others hold what was read before.

    Beyond a slot's length there are zeros: what is masked must be a number too, or one row's NaN would be another's.
    """

    def __init__(
        self,
        model: FusedModel,
        stop_ids: frozenset[int],
        *,
        guess: Guess = guess,
        kept_at_rest: int = KEPT_AT_REST,
    ) -> None:
        self._model = model
        self._guess = guess
        self._stop_ids = stop_ids
        self._kept_at_rest = kept_at_rest
        self.rows: list[Row] = []
        self._empty()

    def _empty(self) -> None:
        self._keys_LSGPD = self._values_LSGPD = self._room(0, 0)
        self._tokens_SP = np.zeros((0, 0), dtype=np.int64)
        self._lengths_S = np.zeros(0, dtype=np.int64)
        """How many places of each slot are filled."""
        self._reached_S = np.zeros(0, dtype=np.int64)
        """How many places of each slot were ever written."""
        self._used_S = np.zeros(0)
        """When a row left it."""

    def admit(self, rows: Sequence[Row]) -> list[Row]:
        longest = max(len(row.prompt_ids) + row.limit for row in rows)
        self._grow(len(self.rows) + len(rows), longest + _MOST_GUESSED)
        for row in sorted(rows, key=lambda row: row.prompt_ids):  # neighbours share the most
            if not row.future.done():
                self._read_prompt(row)
        return self._let_go()

    def step(self) -> list[Row]:
        guesses = self._guesses()
        logits_BTV = self._read_guessed(guesses)
        if any(guesses) and not logits_BTV[:, 0].isfinite().all():  # a guess may have overflowed, and nothing masks NaN
            self._blank(self._lengths_S[: len(guesses)] + logits_BTV.shape[1])
            guesses = [[] for _ in guesses]
            logits_BTV = self._read_guessed(guesses)
        ends_B = self._lengths_S[: len(guesses)] + logits_BTV.shape[1]
        self._take(guesses, logits_BTV)
        self._blank(ends_B)
        return self._let_go()

    def _read_guessed(self, guesses: Sequence[Sequence[int]]) -> torch.Tensor:
        """Reads what each row was given last, and its guess; returns the logits at all these places, (B, T, V)."""
        count, tokens = len(guesses), 1 + max(map(len, guesses))
        places_BT = self._lengths_S[:count, None] + np.arange(tokens)
        ids_BT = np.zeros((count, tokens), dtype=np.int64)
        for ids_T, row, guessed in zip(ids_BT, self.rows, guesses, strict=True):
            ids_T[: 1 + len(guessed)] = [row.token_ids[-1], *guessed]
        self._tokens_SP[np.arange(count)[:, None], places_BT] = ids_BT
        return self._read(slice(0, count), ids_BT, places_BT, wanted=tokens)

    def _blank(self, ends_B: np.ndarray) -> None:
        """Puts zeros into the running rows' slots, between their lengths and these places."""
        lengths_B = self._lengths_S[: len(ends_B)]
        for slot in np.flatnonzero(lengths_B < ends_B):
            for cache in (self._keys_LSGPD, self._values_LSGPD):
                cache[:, slot, :, lengths_B[slot] : ends_B[slot]] = 0

    def _guesses(self) -> list[list[int]]:
        """For each row; fewer tokens the more rows there are, since they are work then."""
        count = len(self.rows)
        lengths_B = self._lengths_S[:count]
        most = min(_MOST_GUESSED, _GUESSED_AT_ONCE // count, self._model.places - 1 - int(lengths_B.max()))
        read = (tokens_P[:length] for tokens_P, length in zip(self._tokens_SP, lengths_B, strict=False))
        return [self._guess(row, tokens, most) for row, tokens in zip(self.rows, read, strict=True)]

    def _take(self, guesses: Sequence[Sequence[int]], logits_BTV: torch.Tensor) -> None:
        """Gives each row its next token, and goes on with those to which that was as guessed."""
        going = list(range(len(guesses)))
        for place in range(logits_BTV.shape[1]):
            choose([self.rows[index] for index in going], logits_BTV[going, place])
            self._lengths_S[going] += 1
            going = [
                index
                for index in going
                if guesses[index][place : place + 1] == self.rows[index].token_ids[-1:]
                and not self.rows[index].has_ended(self._stop_ids)
            ]
            if not going:
                return

    def _read_prompt(self, row: Row) -> None:
        row.began_at = time.perf_counter()
        prompt, slot = np.array(row.prompt_ids), len(self.rows)
        shared = self._take_slot(slot, prompt)
        self._tokens_SP[slot], self._lengths_S[slot] = -1, len(prompt)  # like no prompt, should reading fail
        places_T = np.arange(shared, len(prompt))
        logits_11V = self._read(slice(slot, slot + 1), prompt[None, shared:], places_T[None])
        self._tokens_SP[slot, : len(prompt)] = prompt
        choose([row], logits_11V[:, 0])
        self.rows.append(row)

    def _read(self, slots: slice, ids_BT: np.ndarray, places_BT: np.ndarray, *, wanted: int = 1) -> torch.Tensor:
        end = int(places_BT.max()) + 1
        self._reached_S[slots] = np.maximum(self._reached_S[slots], places_BT.max(axis=1) + 1)
        return self._model.read(
            torch.from_numpy(ids_BT),
            torch.from_numpy(places_BT),
            self._keys_LSGPD[:, slots, :, :end],
            self._values_LSGPD[:, slots, :, :end],
            wanted=wanted,
        )

    def _take_slot(self, slot: int, prompt: np.ndarray) -> int:
        """Makes a slot begin with what is known of the prompt's beginning; returns how many tokens that is."""
        most = min(len(prompt) - 1, self._tokens_SP.shape[1])
        alike_SP = self._tokens_SP[:, :most] == prompt[:most]
        alike_SP &= np.arange(most) < self._lengths_S[:, None]
        common_S = np.where(alike_SP.all(axis=1), most, alike_SP.argmin(axis=1)) if most else np.zeros(len(alike_SP))
        source = int(common_S.argmax())
        shared = int(common_S[source])
        goes_on = source == slot and self._lengths_S[slot] - shared < _WORTH_SHARING  # little is lost
        oldest = slot + int(self._used_S[slot:].argmin())
        if not goes_on and oldest != slot:
            self._swap(slot, oldest)
            source = {slot: oldest, oldest: slot}.get(source, source)
        shared = shared if shared >= _WORTH_SHARING else 0
        for cache in (self._keys_LSGPD, self._values_LSGPD):
            cache[:, slot, :, shared : int(self._lengths_S[slot])] = 0
            if source != slot:
                cache[:, slot, :, :shared] = cache[:, source, :, :shared]
        return shared

    def _let_go(self) -> list[Row]:
        """Takes the rows that have ended out of the running ones; what was read for them stays."""
        ended = [row for row in self.rows if row.has_ended(self._stop_ids)]
        for row in ended:
            slot, last = self.rows.index(row), len(self.rows) - 1
            self._used_S[slot] = time.monotonic()
            if slot != last:
                self._swap(slot, last)
                self.rows[slot] = self.rows[last]
            self.rows.pop()
        if not self.rows and self._written_bytes() > self._kept_at_rest:
            self._empty()
        return ended

    def _swap(self, a: int, b: int) -> None:
        places = int(self._lengths_S[[a, b]].max())
        self._reached_S[[a, b]] = np.maximum(self._reached_S[[a, b]], places)
        for cache in (self._keys_LSGPD, self._values_LSGPD):
            kept = cache[:, a, :, :places].clone()
            cache[:, a, :, :places] = cache[:, b, :, :places]
            cache[:, b, :, :places] = kept
        for each in (self._tokens_SP, self._lengths_S, self._used_S):
            each[[a, b]] = each[[b, a]]

    def _grow(self, slots: int, places: int) -> None:
        """Makes room for so many."""
        had_slots, had_places = self._tokens_SP.shape
        if slots <= had_slots and places <= had_places:
            return
        slots = had_slots if slots <= had_slots else max(slots, 2 * had_slots, _SLOTS)
        places = had_places if places <= had_places else max(-(-places // 64) * 64, had_places * 3 // 2, _PLACES)
        keys, values = self._room(slots, places), self._room(slots, places)
        for slot, length in enumerate(self._lengths_S.tolist()):
            keys[:, slot, :, :length] = self._keys_LSGPD[:, slot, :, :length]
            values[:, slot, :, :length] = self._values_LSGPD[:, slot, :, :length]
        self._keys_LSGPD, self._values_LSGPD = keys, values
        more_slots, more_places = slots - had_slots, places - had_places
        self._tokens_SP = np.pad(self._tokens_SP, ((0, more_slots), (0, more_places)))
        self._lengths_S = np.pad(self._lengths_S, (0, more_slots))
        self._reached_S = self._lengths_S.copy()
        self._used_S = np.pad(self._used_S, (0, more_slots))

    def _room(self, slots: int, places: int) -> torch.Tensor:
        """Zeros, of which the system gives a page when it is first written: room for the longest answers costs nothing before."""
        model = self._model
        shape = (model.layers, slots, model.groups, places, model.head_width)
        size = _BYTES_OF_A_NUMBER * math.prod(shape)
        if not size:
            return torch.zeros(shape)
        room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):  # of Linux: a huge page would come for a few places
            room.madvise(mmap.MADV_NOHUGEPAGE)
        return torch.frombuffer(room, dtype=torch.float32).view(shape)

    def _written_bytes(self) -> int:
        model = self._model
        numbers = 2 * model.layers * model.groups * model.head_width * int(self._reached_S.sum())
        return _BYTES_OF_A_NUMBER * numbers
