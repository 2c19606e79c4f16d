"""A finished model's weights in the shapes of a larger one, which computes what the finished one computed.

Layers become wider: what a new neuron reads is drawn as in a new model, what it writes is nothing yet (function-preserving growth,
arXiv 1511.05641). Layers become more: a new one reads as the one before it does, and writes nothing yet (block expansion,
arXiv 2401.02415); they come evenly between the others.
"""

import re
from collections.abc import Mapping

import torch

Weights = Mapping[str, torch.Tensor]

_WIDENED = (".mlp.gate_proj.weight", ".mlp.up_proj.weight", ".mlp.down_proj.weight")
"""[neurons, hidden], [neurons, hidden] and [hidden, neurons]."""
_WRITES = (".self_attn.o_proj.weight", ".mlp.down_proj.weight")
"""By which a layer adds to what the next ones read."""
_LAYER = re.compile(r"(.*\.layers\.)(\d+)(\..*)")
_HEAD = "lm_head.weight"
"""Tied to the embeddings: a file does not have it."""


def grown(weights: Weights, fresh: Weights) -> dict[str, torch.Tensor]:
    """Args: fresh: a new model's, of the shapes that are wanted.

    Raises:
        ValueError: the finished model is of another shape, and not for the number or the width of its layers alone.
    """
    deep = _deepened(weights, fresh)
    if lacking := sorted(fresh.keys() - deep.keys() - {_HEAD}):
        raise ValueError(
            f"the model to go on from has no {lacking[0]}, which the --size that is asked for has: name its own size"
        )
    if foreign := sorted(deep.keys() - fresh.keys()):
        raise ValueError(
            f"the model to go on from has {foreign[0]}, which the --size that is asked for has no place for"
        )
    return {name: _widened(name, weight, fresh[name]) for name, weight in deep.items()}


def _deepened(weights: Weights, fresh: Weights) -> dict[str, torch.Tensor]:
    before = _layers(weights)
    more = _layers(fresh) - before
    # Counted from 1; of 8 to 12: 2, 4, 5, 7.
    new_after = [-(-number * before // (more + 1)) for number in range(1, more + 1)]
    found: dict[str, torch.Tensor] = {}
    for name, weight in weights.items():
        if not (part := _LAYER.fullmatch(name)):
            found[name] = weight
            continue
        stem, old, rest = part[1], int(part[2]), part[3]
        place = old + sum(passed <= old for passed in new_after)
        found[f"{stem}{place}{rest}"] = weight
        for number in range(1, new_after.count(old + 1) + 1):
            new = torch.zeros_like(weight) if rest.endswith(_WRITES) else weight.clone()
            found[f"{stem}{place + number}{rest}"] = new
    return found


def _layers(weights: Weights) -> int:
    return len({part[2] for name in weights if (part := _LAYER.fullmatch(name))})


def _widened(name: str, weight: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    if weight.shape == new.shape:
        return weight
    if not name.endswith(_WIDENED) or any(a > b for a, b in zip(weight.shape, new.shape, strict=True)):
        raise ValueError(
            f"{name} is {list(weight.shape)} in the model to go on from and {list(new.shape)} in the --size that is "
            "asked for: name the size that it has; only its layers, and their neurons, can become more"
        )
    wide = torch.zeros_like(new) if name.endswith("down_proj.weight") else new.clone()
    wide[: weight.shape[0], : weight.shape[1]] = weight
    return wide
