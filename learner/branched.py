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
    rest_q, rest_k, rest_v = (t[:, :, size:].contiguous() for t in (query, key, value))
    onto_prefix = rest_q @ head_k.transpose(-1, -2) + branches.on_prefix
    slot_q, slot_k, slot_v = (t.unflatten(2, slots) for t in (rest_q, rest_k, rest_v))
    onto_self = (slot_q @ slot_k.transpose(-1, -2) + branches.within).flatten(2, 3)
    # One softmax over both blocks, without a copy that holds them side by side.
    highest = torch.maximum(onto_prefix.amax(-1, keepdim=True), onto_self.amax(-1, keepdim=True)).float().detach()
    on_prefix, on_self = (torch.exp(scores.float() - highest) for scores in (onto_prefix, onto_self))
    total = on_prefix.sum(-1, keepdim=True) + on_self.sum(-1, keepdim=True)
    from_prefix = on_prefix.to(value.dtype) @ head_v
    from_self = (on_self.to(value.dtype).unflatten(2, slots) @ slot_v).flatten(2, 3)
    rest = ((from_prefix + from_self) / total).to(value.dtype)
    return torch.cat([out, rest], 2).transpose(1, 2), None


def use_branched_attention(model: Any) -> None:
    """Makes a freshly built model attend this way; its forward then takes `branches=`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, branched_attention)
    model.config._attn_implementation = NAME
