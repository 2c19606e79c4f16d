"""The head where a grammar allows few tokens: logits of these alone.

Most of a decision is its form: a brace, a name that is shown, a digit. Where 32 tokens or fewer may stand, the other logits of a
vocabulary of thousands are not needed, and computing them took a third of a training step.

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


def allow_few(bits_NW: torch.Tensor) -> torch.Tensor:
    """Of each place whether few tokens may stand there."""
    counts_N = np.bitwise_count(bits_NW.numpy().view(np.uint32)).sum(axis=1)
    return torch.from_numpy(counts_N <= FEW)


def logits_of_allowed(head: Any, hidden_FH: torch.Tensor, bits_FW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [F, K] of the tokens that are allowed, and which tokens these are, [F, K]. Where fewer than K are, token 0 fills up,
    with a logit that wins nothing.

    Args: head: a `torch.nn.Linear` from H to V.
    """
    places, tokens = np.nonzero(unpacked(bits_FW, head.out_features).numpy())
    counts_F = np.bincount(places, minlength=len(bits_FW))
    real_FK = np.arange(counts_F.max(initial=1)) < counts_F[:, None]
    listed_FK = np.zeros(real_FK.shape, np.int64)
    listed_FK[real_FK] = tokens
    ids_FK, is_real_FK = (torch.from_numpy(array).to(hidden_FH.device) for array in (listed_FK, real_FK))
    logits_FK = torch.einsum("fkh,fh->fk", head.weight[ids_FK], hidden_FH)
    if head.bias is not None:
        logits_FK = logits_FK + head.bias[ids_FK]
    return logits_FK.float().masked_fill(~is_real_FK, FORBIDDEN), ids_FK
