"""Attention for packed families: each branch sees the shared tools and itself.

Training-time only, and equal to ordinary causal attention over each situation in a row of its own (`tests/learner/test_branched.py`
shows it). Scores are computed only where attention is wanted: prefix on prefix, slot on prefix, slot on itself.
"""

from dataclasses import dataclass
from typing import Any

import torch

NAME = "branched"


@dataclass
class Branches:
    """Additive masks, 0 or a large negative, of the three score blocks. B sequences, P prefix, K slots of S tokens."""

    prefix: torch.Tensor
    """[B, 1, P, P]"""
    on_prefix: torch.Tensor | None
    """[B, 1, 1, P]: what a slot sees of the prefix."""
    within: torch.Tensor | None
    """[B, 1, K, S, S]: what a slot sees of itself."""

    @classmethod
    def of(cls, owners: torch.Tensor, *, prefix: int, slot: int) -> "Branches":
        """Args: owners: [B, T] branch numbers, 0 the prefix, -1 padding."""
        tools = owners[:, :prefix]
        causal = torch.ones(prefix, prefix, dtype=torch.bool, device=owners.device).tril()
        first = _additive(
            causal & (tools >= 0)[:, None, :] | torch.eye(prefix, dtype=torch.bool, device=owners.device)
        )[:, None]
        if slot == 0:
            return cls(first, None, None)
        branches = owners[:, prefix:].unflatten(1, (-1, slot))
        causal = torch.ones(slot, slot, dtype=torch.bool, device=owners.device).tril()
        same = branches[..., :, None] == branches[..., None, :]
        return cls(first, _additive(tools >= 0)[:, None, None], _additive(causal & same)[:, None])


def _additive(allowed: torch.Tensor) -> torch.Tensor:
    return torch.zeros(allowed.shape, dtype=torch.bfloat16, device=allowed.device).masked_fill(~allowed, -1e4)


def branched_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """In transformers' attention interface. query: [B, H, T, D]; key, value: [B, G, T, D]; gives [B, T, H, D]."""
    branches: Branches = kwargs["branches"]
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    query = query * scaling
    size = branches.prefix.shape[-1]
    # Contiguous, or every product below copies them for itself.
    head_q, head_k, head_v = (t[:, :, :size].contiguous() for t in (query, key, value))
    out = torch.softmax(head_q @ head_k.transpose(-1, -2) + branches.prefix, -1) @ head_v
    if branches.within is None or branches.on_prefix is None:
        return out.transpose(1, 2), None
    slots = (branches.within.shape[2], -1)
    rest_q, rest_k, rest_v = (t[:, :, size:].unflatten(2, slots) for t in (query, key, value))
    parts = [
        _of_slots(
            rest_q[..., first : first + PART, :].contiguous(),
            rest_k[..., : first + PART, :].contiguous(),
            rest_v[..., : first + PART, :].contiguous(),
            head_k,
            head_v,
            branches.on_prefix,
            branches.within[..., first : first + PART, : first + PART],
        )
        for first in range(0, rest_q.shape[3], PART)
    ]
    rest = torch.cat(parts, 3).flatten(2, 3)
    return torch.cat([out, rest], 2).transpose(1, 2), None


PART = 72
"""Tokens of a slot that are computed at once, which see none after them: most of the upper triangle is left out, and what is held
stays in the processor's caches. Of 288, 144, 110, 96 and 72 the last was fastest on a CPU."""


def _of_slots(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    head_k: torch.Tensor,
    head_v: torch.Tensor,
    on_prefix: torch.Tensor,
    within: torch.Tensor,
) -> torch.Tensor:
    """query: [B, H, K, Q, D]; key, value: [B, H, K, S, D]; head_k, head_v: [B, H, P, D]; gives as query."""
    slots = (query.shape[2], -1)
    onto_prefix = (query.flatten(2, 3) @ head_k.transpose(-1, -2) + on_prefix).unflatten(2, slots)
    onto_self = query @ key.transpose(-1, -2) + within
    # One softmax over both blocks, without a copy that holds them side by side.
    highest = torch.maximum(onto_prefix.amax(-1, keepdim=True), onto_self.amax(-1, keepdim=True)).float().detach()
    from_prefix, from_self = (torch.exp(scores.float() - highest) for scores in (onto_prefix, onto_self))
    total = from_prefix.sum(-1, keepdim=True) + from_self.sum(-1, keepdim=True)
    seen = (from_prefix.to(value.dtype).flatten(2, 3) @ head_v).unflatten(2, slots) + from_self.to(value.dtype) @ value
    return (seen / total).to(value.dtype)


def use_branched_attention(model: Any) -> None:
    """Makes a freshly built model attend this way; its forward then takes `branches=`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, branched_attention)
    model.config._attn_implementation = NAME
