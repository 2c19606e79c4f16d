"""The head where a grammar allows few tokens: logits of these alone.

Most of a decision is its form: a brace, a name that is shown, a digit. Where 32 tokens or fewer may stand, the other logits of a
vocabulary of thousands are not needed, and computing them took a quarter of a training step.

Shape letters: N places, F of them that allow few tokens, K the most that one of these allows; H hidden, V vocabulary, W its words
of 32 bits.
"""

from typing import Any

import numpy as np
import torch

from runtime.policy.embedded.constraint import unpacked

FORBIDDEN = -1e9
"""A logit that wins nothing; infinity would make the entropy NaN."""
FEW = 32


def allow_few(bits_NW: torch.Tensor, few: int = FEW) -> torch.Tensor:
    """Of each place whether no more than so many tokens may stand there."""
    counts_N = np.bitwise_count(bits_NW.numpy().view(np.uint32)).sum(axis=1)
    return torch.from_numpy(counts_N <= few)


def logits_of_allowed(head: Any, hidden_FH: torch.Tensor, bits_FW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [F, K] of the tokens that are allowed, and which tokens these are, [F, K]. Where fewer than K are, token 0 fills up,
    with a logit that wins nothing.

    Args: head: a `torch.nn.Linear` from H to V.
    """
    device = hidden_FH.device
    places, tokens = np.nonzero(unpacked(bits_FW, head.out_features).numpy())
    used_U, at = np.unique(tokens, return_inverse=True)  # somewhere allowed: a few hundred of thousands
    counts_F = np.bincount(places, minlength=len(bits_FW))
    real_FK = np.arange(counts_F.max(initial=1)) < counts_F[:, None]
    at_FK = np.zeros(real_FK.shape, np.int64)
    at_FK[real_FK] = at
    ids_FK = np.zeros(real_FK.shape, np.int64)
    ids_FK[real_FK] = tokens
    used = torch.from_numpy(used_U).to(device)
    bias_U = None if head.bias is None else head.bias[used]
    logits_FU = torch.nn.functional.linear(hidden_FH, head.weight[used], bias_U).float()
    logits_FK = logits_FU.gather(-1, torch.from_numpy(at_FK).to(device))
    return logits_FK.masked_fill(~torch.from_numpy(real_FK).to(device), FORBIDDEN), torch.from_numpy(ids_FK).to(device)
